"""Behind the last step: the Hugging Face directory, pass@k of three models, the report."""

from __future__ import annotations

import filecmp
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from prorl_nemo.atomic_directory import MANIFEST, verify_directory, write_directory, write_text
from prorl_nemo.campaign_tasks import make_reward_pool, problems_of
from prorl_nemo.checkpointing import POLICY
from prorl_nemo.config_campaign import Config, EvaluationTaskConfig
from prorl_nemo.engines.local.build import base_model_path
from prorl_nemo.evaluation.local_sampler import LocalSampler
from prorl_nemo.evaluation.report import write_report
from prorl_nemo.evaluation.sample_files import SampleMeta
from prorl_nemo.evaluation.sampling import Sampler, sample_benchmark
from prorl_nemo.evaluation.vllm_sampler import VllmSampler
from prorl_nemo.run_directory import DONE_FILE
from prorl_nemo.tasks.base import Problem
from prorl_nemo.tasks.registry import make_task

Say = Callable[[str], None]
HF_DIRECTORY = "hf"
SECONDS_BETWEEN_LINES = 10.0


@dataclass(frozen=True)
class EvaluatedModel:
    """A model of the campaign by name; ``order`` rises from the base, 0, to the final one."""

    name: str
    directory: str
    order: int
    step: int | None


@dataclass(frozen=True)
class Part:
    """Part ``index`` of ``count`` of an evaluation, in whole files: none has two writers."""

    index: int
    count: int

    def takes(self, number: int) -> bool:
        """True for every ``count``-th of the benchmarks, which are numbered by their place."""
        return number % self.count == self.index


WHOLE = Part(0, 1)


def finish_campaign(config: Config, root: Path, *, say: Say) -> None:
    """Export, evaluate, report, and leave DONE; each part goes on where it stopped."""
    models = find_models(config, root)
    for model in models:
        evaluate_model(config, root, model, say=say)
    report = write_report(root)
    write_text(root / DONE_FILE, "")
    say(f"model: {models[-1].directory}")
    say(f"report: {report}")


def find_models(
    config: Config, root: Path, *, more_steps: Sequence[int] = ()
) -> list[EvaluatedModel]:
    """Base, intermediate (also those of ``more_steps``) and final, in this order.

    Raises DamagedDirectoryError, which names the checkpoint that isn't there or isn't whole.
    """
    last = sum(run.num_steps for run in config.prorl.schedule)
    steps = {config.prorl.evaluation.intermediate_step, *more_steps} - {0, last}
    models = [EvaluatedModel("base", base_model_path(config, root), 0, None)]
    models += [
        EvaluatedModel(f"step_{step:06d}", str(checkpoint_policy(root, step)), step, step)
        for step in sorted(steps)
        if step < last or step in more_steps
    ]
    final = export_policy(checkpoint_policy(root, last), root / HF_DIRECTORY)
    models.append(EvaluatedModel("final", str(final), last, last))
    return models


def checkpoint_policy(root: Path, step: int) -> Path:
    """The policy of a whole checkpoint; raises DamagedDirectoryError."""
    directory = root / "checkpoints" / f"step_{step:06d}"
    verify_directory(directory)
    return directory / POLICY


def export_policy(policy: Path, target: Path) -> Path:
    """Copy what transformers reads, without the optimizer.

    Left alone if it is there already: another process may be reading it.
    """
    names = [path.name for path in policy.iterdir()]
    names = [name for name in names if name not in ("optimizer.safetensors", MANIFEST)]

    def fill(directory: Path) -> None:
        for name in names:
            shutil.copy2(policy / name, directory / name)

    if not target.is_dir() or filecmp.cmpfiles(policy, target, names, shallow=False)[0] != names:
        write_directory(target, fill)
    return target


def evaluate_model(
    config: Config, root: Path, model: EvaluatedModel, *, say: Say, part: Part = WHOLE
) -> None:
    """Sample one model on every benchmark of the configuration that belongs to ``part``."""
    evaluation = config.prorl.evaluation
    numbered = enumerate(evaluation.tasks, start=model.order)
    entries = [entry for number, entry in numbered if part.takes(number)]
    if not entries:
        return
    tasks = [make_task(entry) for entry in entries]
    problems_by_task = [problems_of(task) for task in tasks]
    with (
        make_reward_pool(config, tasks) as pool,
        closing(make_sampler(config, model, [*chain(*problems_by_task)])) as sampler,
    ):
        for problems, entry in zip(problems_by_task, entries, strict=True):
            sample_benchmark(
                root / "evaluation" / model.name / f"{entry.name}.jsonl",
                make_meta(config, model, entry, num_problems=len(problems)),
                problems,
                sampler=sampler,
                scorer=pool,
                progress=SamplingProgress(say, f"{model.name} on {entry.name}"),
            )
            scored = pool.take_metrics().tasks.get(entry.name)
            if scored is not None and scored.failures:
                reasons = ", ".join(f"{name} {n}" for name, n in sorted(scored.failures.items()))
                say(
                    f"evaluate {model.name} on {entry.name}: {scored.num_failures} of "
                    f"{scored.num_scored} responses scored 0 because of {reasons}"
                )


class SamplingProgress:
    """Says how far a benchmark is, with the time that is left, at most every ten seconds."""

    def __init__(self, say: Say, label: str) -> None:
        self._say = say
        self._label = label
        self._first_done: int | None = None
        self._start = self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._first_done is None:
            self._first_done = done  # samples that were there already, and the first block
        if done < total and now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        fresh = done - self._first_done
        left = (total - done) * (now - self._start) / fresh if fresh else 0.0
        ending = f", {left:.0f} s left" if done < total else ""
        self._say(f"evaluate {self._label}: {done}/{total} responses{ending}")


def make_sampler(config: Config, model: EvaluatedModel, problems: Sequence[Problem]) -> Sampler:
    """The configured backend with ``model`` loaded, for any of ``problems``.

    Raises ValueError when it can't be used.
    """
    policy = config.policy
    if config.prorl.evaluation.backend == "vllm":
        return VllmSampler(
            model.directory,
            problems=problems,
            max_new_tokens=config.prorl.evaluation.max_new_tokens,
            precision=policy.precision,
        )
    tokenizer = policy.tokenizer.model_copy(update={"name": model.directory})
    return LocalSampler(
        policy.model_copy(update={"model_name": model.directory, "tokenizer": tokenizer})
    )


def make_meta(
    config: Config, model: EvaluatedModel, entry: EvaluationTaskConfig, *, num_problems: int
) -> SampleMeta:
    """The settings that the samples of ``model`` on ``entry`` are made with."""
    evaluation = config.prorl.evaluation
    return SampleMeta(
        model=model.name,
        model_order=model.order,
        step=model.step,
        benchmark=entry.name,
        task=entry.task,
        role=entry.role,
        sweep_value=entry.sweep_value,
        sweep_group=entry.sweep_group,
        num_problems=num_problems,
        num_samples=evaluation.num_samples,
        temperature=evaluation.temperature,
        top_p=evaluation.top_p,
        max_new_tokens=evaluation.max_new_tokens,
        seed=evaluation.seed,
    )
