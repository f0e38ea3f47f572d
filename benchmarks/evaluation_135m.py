"""A model of SmolLM-135M's shape through maths, code and instruction-following benchmarks.

    python -m benchmarks.evaluation_135m FOLDER SOURCES --backend local
    python -m benchmarks.evaluation_135m FOLDER SOURCES --backend vllm    # in vLLM's environment

SOURCES holds MATH-500, HumanEval and IFEval where `prorl data benchmarks --local` looks for them.
The weights are random; the tokenizer is a byte-level BPE of 49,152 tokens made from the sources of
the installed packages, with a chat template. Prints responses and tokens per second for each
benchmark. What a fixed set of responses is graded with is kept in FOLDER: exits non-zero if two
environments grade it differently, or if a count of samples is wrong.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sysconfig
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from prorl_nemo.campaign_tasks import make_reward_pool, problems_of
from prorl_nemo.config_campaign import Config
from prorl_nemo.config_loading import load_config
from prorl_nemo.data.benchmarks import BENCHMARKS
from prorl_nemo.data.prepare import prepare_mixture
from prorl_nemo.data.source_files import locate_files, read_rows
from prorl_nemo.evaluation.samples import SampleSet, read_samples
from prorl_nemo.evaluation.sampling import sample_benchmark
from prorl_nemo.finish import EvaluatedModel, make_meta, make_sampler
from prorl_nemo.tasks.base import Problem
from prorl_nemo.tasks.registry import make_tasks

NAMES = ("math500", "humaneval", "ifeval")
CONF = Path(__file__).parents[1] / "conf" / "paper_evaluation.yaml"
VOCABULARY = 49_152
NUM_SOURCE_FILES = 3_000
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("sources", type=Path)
    parser.add_argument("--backend", choices=["local", "vllm"], required=True)
    parser.add_argument("--problems", type=int, default=8)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    folder = arguments.folder.absolute()
    os.environ["PRORL_DATA"] = str(folder)
    prepare_mixture(
        folder / "benchmarks", tasks=NAMES, sources=BENCHMARKS, local_folder=arguments.sources
    )
    if not (folder / "model").exists():
        write_model(folder / "model")
    config = make_config(arguments)
    rewards = evaluate(config, folder, arguments)
    return check_verdicts(folder, arguments.backend, rewards)


def make_config(arguments: argparse.Namespace) -> Config:
    config = load_config(
        CONF,
        [
            f"prorl.evaluation.backend={arguments.backend}",
            f"prorl.evaluation.num_samples={arguments.samples}",
            f"prorl.evaluation.max_new_tokens={arguments.tokens}",
            "prorl.rewards.num_workers=2",
            "policy.precision=float32",
        ],
    )
    tasks = [
        task.model_copy(update={"num_problems": arguments.problems})
        for task in config.prorl.evaluation.tasks
        if task.name in NAMES
    ]
    evaluation = config.prorl.evaluation.model_copy(update={"tasks": tasks})
    return config.model_copy(
        update={"prorl": config.prorl.model_copy(update={"evaluation": evaluation})}
    )


def evaluate(config: Config, folder: Path, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Samples and grades; returns the rewards of the fixed responses by benchmark."""
    entries = config.prorl.evaluation.tasks
    tasks = make_tasks(entries)
    problems = {task.name: problems_of(task) for task in tasks}
    model = EvaluatedModel(arguments.backend, str(folder / "model"), 0, None)
    fixed = {name: list(fixed_responses(name, problems[name], arguments.sources)) for name in NAMES}
    shutil.rmtree(folder / "evaluation" / model.name, ignore_errors=True)
    start = time.perf_counter()
    with (
        make_reward_pool(config, tasks) as pool,
        closing(make_sampler(config, model, [*chain(*problems.values())])) as sampler,
    ):
        print(f"{arguments.backend}: ready after {time.perf_counter() - start:.1f} s")
        for entry in entries:
            path = folder / "evaluation" / model.name / f"{entry.name}.jsonl"
            chosen = problems[entry.name]
            start = time.perf_counter()
            sample_benchmark(
                path,
                make_meta(config, model, entry, num_problems=len(chosen)),
                chosen,
                sampler=sampler,
                scorer=pool,
                progress=lambda done, total: None,
            )
            seconds = time.perf_counter() - start
            samples = read_samples(path)
            assert isinstance(samples, SampleSet), f"{path}: incomplete"
            assert samples.rewards.shape == (arguments.problems, arguments.samples)
            num_tokens = int(samples.num_tokens.sum())
            print(
                f"  {entry.name}: {samples.rewards.size} responses, {num_tokens:,} tokens in "
                f"{seconds:.1f} s, {num_tokens / seconds:.0f} tokens/s, "
                f"mean reward {samples.rewards.mean():.3f}"
            )
        return {
            name: [score.reward for score in pool.score_all(pairs)] for name, pairs in fixed.items()
        }


def fixed_responses(
    name: str, problems: list[Problem], sources: Path
) -> Iterator[tuple[Problem, str]]:
    """A right and a wrong response to each problem, as far as a benchmark has right ones."""
    solutions = {}
    if name == "humaneval":
        source = BENCHMARKS[name]
        for path in locate_files(source, local_folder=sources).values():
            for _, row in read_rows(path):
                problem = source.convert(row)
                assert isinstance(problem, Problem)
                solutions[problem.problem_id] = f"{row['prompt']}{row['canonical_solution']}"
    for problem in problems:
        if name == "math500":
            yield problem, rf"<think>Hm.</think>So \boxed{{{problem.answer}}}."
            yield problem, r"So \boxed{\text{nothing}}."
        elif name == "humaneval":
            yield problem, f"```python\n{solutions[problem.problem_id]}\n```"
            yield problem, "```python\npass\n```"
        else:
            yield problem, problem.prompt
            yield problem, problem.prompt.lower().replace(",", "")


def check_verdicts(folder: Path, backend: str, rewards: dict[str, list[float]]) -> int:
    (folder / f"verdicts-{backend}.json").write_text(json.dumps(rewards))
    for name, values in rewards.items():
        print(f"  {name}: fixed responses, mean reward {sum(values) / len(values):.3f}")
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("verdicts-*.json"))]
    is_same = all(verdicts == rewards for verdicts in found)
    print(f"  verdicts of {len(found)} environments: {'the same' if is_same else 'DIFFERENT'}")
    return int(not is_same)


def write_model(folder: Path) -> None:
    """SmolLM-135M's shape, with random weights."""
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    LlamaForCausalLM(shape).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)


def make_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    files = islice(sorted(Path(sysconfig.get_paths()["purelib"]).rglob("*.py")), NUM_SOURCE_FILES)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|pad|>", "<|im_end|>", "<|im_start|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (path.read_text(errors="replace") for path in files)
    tokenizer.train_from_iterator(texts, trainer)
    assert tokenizer.get_vocab_size() == VOCABULARY
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|im_end|>",
        chat_template=CHAT_TEMPLATE,
    )


if __name__ == "__main__":
    raise SystemExit(main())
