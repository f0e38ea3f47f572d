"""The local engine against transformers' `generate` and TRL's GRPOTrainer, in one process.

    python -m benchmarks.local_engine tiny runs/local      # the base model of that run
    python -m benchmarks.local_engine 135m runs/local      # random weights of SmolLM-135M's shape

TRL has to be importable (an environment of its own, with this project's packages). Both sides get
the same model, prompts, rewards, group size, response limit, temperature, updates per step and KL
coefficient, in float32 on the threads of `policy.num_cpu_threads`; one pair after the other, the
first step of each is not counted. Seconds are the process's CPU seconds, which other work on the
machine changes least. Exits non-zero when a step isn't at least as much faster than
TRL's as GOALS say.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
import trl
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from benchmarks.trl_peer import Measured, as_text, load, run_trl
from prorl_nemo.batching import make_train_batch
from prorl_nemo.campaign_tasks import CampaignTasks, make_campaign_tasks, make_reward_pool
from prorl_nemo.config_campaign import Config
from prorl_nemo.config_loading import load_config
from prorl_nemo.data.prompt_stream import PromptStream
from prorl_nemo.engines.local.build import prepare_base_model
from prorl_nemo.engines.local.engine import LocalEngine
from prorl_nemo.tasks.base import Problem
from prorl_nemo.types import PromptGroup

GOALS = {"tiny": 2.0, "135m": 1.3}
CONF = Path(__file__).parents[1] / "conf" / "local.yaml"
# What differs from conf/local.yaml at 135M parameters: a step has to end within a minute.
SMALL_STEP = (
    "grpo.num_prompts_per_step=2",
    "grpo.num_generations_per_prompt=8",
    "policy.train_global_batch_size=8",
    "policy.generation.max_new_tokens=16",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shape", choices=sorted(GOALS))
    parser.add_argument("run", type=Path, help="run directory; its base model is made if missing")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="counted steps of one side of a pair")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    base = make_config(arguments.shape)
    tasks = make_campaign_tasks(base)
    prepare_base_model(base, arguments.run, tasks, progress=lambda step, loss: None)
    with tempfile.TemporaryDirectory() as scratch:
        model = arguments.run / "base"
        if arguments.shape == "135m":
            model = write_random_135m(Path(scratch) / "model", tokenizer=model)
        config = make_config(arguments.shape, model=str(model))
        return compare(config, tasks, arguments, Path(scratch))


def make_config(shape: str, *, model: str = "tiny") -> Config:
    changes = SMALL_STEP if shape == "135m" else ()
    return load_config(CONF, [f"policy.model_name={model}", "policy.device=cpu", *changes])


def write_random_135m(directory: Path, *, tokenizer: Path) -> Path:
    torch.manual_seed(0)
    shape = Qwen2Config(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    Qwen2ForCausalLM(shape).save_pretrained(directory)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(directory)
    return directory


def compare(
    config: Config, tasks: CampaignTasks, arguments: argparse.Namespace, scratch: Path
) -> int:
    count = (arguments.steps + 1) * config.grpo.num_prompts_per_step
    rollouts, steps, lengths, trained = [], [], [], []
    with make_reward_pool(config, list(tasks.scorers.values())) as pool:
        for pair in range(arguments.pairs):
            stream = PromptStream(
                tasks.train, seed=pair, held_out_prompts=tasks.held_out_prompts, position=0
            )
            problems = stream.take(count)
            engine = LocalEngine(config, pool)
            ours = run_ours(engine, config, problems)
            theirs = run_trl(config, tasks, problems, scratch)
            rollouts.append(ours.tokens_per_second / run_generate(config, problems))
            steps.append(theirs.seconds_per_step / ours.seconds_per_step)
            trained.append(ours.tokens / ours.training_seconds)
            lengths.append((ours.tokens_per_response, theirs.tokens_per_response))
            print(
                f"pair {pair + 1}: step {ours.seconds_per_step:.2f} s, TRL "
                f"{theirs.seconds_per_step:.2f} s ({steps[-1]:.2f}x); rollout "
                f"{ours.tokens_per_second:.0f} tokens/s ({rollouts[-1]:.2f}x generate); tokens per "
                f"response {lengths[-1][0]:.2f}, TRL {lengths[-1][1]:.2f}; "
                f"log-probs, reference and updates {trained[-1]:.0f} tokens/s",
                flush=True,
            )
    print(
        f"torch {torch.__version__}, transformers {transformers.__version__}, trl {trl.__version__}"
    )
    report("rollout tokens/s over generate", rollouts)
    median = report("steps/s over TRL's GRPOTrainer", steps)
    goal = GOALS[arguments.shape]
    print(f"goal: {goal:.1f}x, {'reached' if median >= goal else 'MISSED'}")
    return int(median < goal)


def report(name: str, ratios: Sequence[float]) -> float:
    median = statistics.median(ratios)
    print(f"{name}: {median:.2f}x [{min(ratios):.2f}, {max(ratios):.2f}], {len(ratios)} pairs")
    return median


def run_ours(engine: LocalEngine, config: Config, problems: Sequence[Problem]) -> Measured:
    measured, size = Measured(), config.grpo.num_prompts_per_step
    for step, start in enumerate(range(0, len(problems), size)):
        chosen = problems[start : start + size]
        groups = [PromptGroup(start + i, problem) for i, problem in enumerate(chosen)]
        began = time.process_time()
        rollouts = engine.rollout(groups, step=step)
        measured.rollout_seconds += time.process_time() - began
        measured.tokens += int(rollouts.response_lengths.sum())
        measured.responses += len(rollouts)
        began = time.process_time()
        engine.train(engine.compute_logprobs(make_train_batch(rollouts, config, step=step + 1)))
        measured.marks.append(time.process_time())
        measured.training_seconds += measured.marks[-1] - began
    return measured


@torch.no_grad()
def run_generate(config: Config, problems: Sequence[Problem]) -> float:
    """Tokens per second of transformers' generate on the same prompts, with scoring left out."""
    model, tokenizer = load(config)
    size, samples = config.grpo.num_prompts_per_step, config.grpo.num_generations_per_prompt
    tokens, seconds = 0, 0.0
    torch.manual_seed(0)
    for start in range(0, len(problems), size):
        texts = [as_text(tokenizer, problem) for problem in problems[start : start + size]]
        inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
        began = time.process_time()
        rows = model.generate(
            inputs.input_ids,
            attention_mask=inputs.attention_mask,
            do_sample=True,
            temperature=config.policy.generation.temperature,
            top_k=0,
            top_p=1.0,
            max_new_tokens=config.policy.generation.max_new_tokens,
            num_return_sequences=samples,
        )
        seconds += time.process_time() - began
        responses = rows[:, inputs.input_ids.shape[1] :]
        tokens += int((responses != tokenizer.pad_token_id).sum())
    return tokens / seconds


if __name__ == "__main__":
    sys.exit(main())
