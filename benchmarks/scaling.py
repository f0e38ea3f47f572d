"""What the driver itself costs, and how that grows: everything outside the engine's verbs.

    python -m benchmarks.scaling [--campaign]

The real ``prorl_train`` runs over a stand-in engine that hands over batches of full size and
computes nothing. CPU seconds of a step without the verbs, least of 3 steps; ``exponent`` is the
slope of log seconds over log size. ``--campaign`` adds the paper's step, 4,096 responses of
8k tokens (about 6 GB of memory). Exits non-zero when a goal is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from prorl_nemo.checkpointing import CheckpointStore
from prorl_nemo.config_loading import config_of_run, load_config
from prorl_nemo.data.prompt_stream import PromptStream, WeightedTask
from prorl_nemo.metrics import JsonlWriter
from prorl_nemo.run_context import RunContext
from prorl_nemo.run_requests import RunRequests
from prorl_nemo.run_schedule import schedule_runs
from prorl_nemo.step_record import StepRecord
from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.train import prorl_train
from prorl_nemo.train_state import TrainState
from prorl_nemo.types import PromptGroup, RolloutBatch, TrainBatch, TrainMetrics, ValidationResult

CONF = Path(__file__).parents[1] / "conf" / "local.yaml"
MAX_EXPONENT = 1.15
MAX_OVERHEAD = 0.02
# `prorl plan --config conf/prorl_1.5b.yaml`: about 70 s a step on 32 H100 without stragglers.
# (The paper's 16k GPU hours over 2,000 steps are 900 s.)
CAMPAIGN_STEP_SECONDS = 70
PROMPT_TOKENS = 16
METRICS = TrainMetrics(0.1, 0.1, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 2e-6, 4)


class Prompts:
    """A task with endless problems, as a stream wants it."""

    needs_isolation = False

    def __init__(self, name: str) -> None:
        self.name = name

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, index: int) -> Problem:
        return Problem(str(index), self.name, f"{self.name} {index}", "")

    def score(self, problem: Problem, response: str) -> Score:
        raise NotImplementedError


@dataclass
class StandInEngine:
    """Batches of full size; ``inside`` counts the CPU seconds of the verbs."""

    num_samples: int
    sequence: int
    inside: float = 0.0

    def rollout(self, prompts: Sequence[PromptGroup], *, step: int) -> RolloutBatch:
        start, rows = time.process_time(), len(prompts) * self.num_samples
        lengths = torch.randint(PROMPT_TOKENS + 1, self.sequence + 1, (rows,))
        lengths[0] = self.sequence
        batch = RolloutBatch(
            group_ids=torch.tensor([p.group_id for p in prompts]).repeat_interleave(
                self.num_samples
            ),
            task_names=tuple(p.problem.task for p in prompts for _ in range(self.num_samples)),
            input_ids=torch.ones(rows, self.sequence, dtype=torch.int64),
            input_lengths=lengths,
            prompt_lengths=torch.full((rows,), PROMPT_TOKENS),
            generation_logprobs=torch.full((rows, self.sequence), -0.1),
            rewards=(torch.rand(rows) < 0.2).float(),
            truncated=torch.zeros(rows, dtype=torch.bool),
            scorer_failed=torch.zeros(rows, dtype=torch.bool),
            policy_step=torch.full((rows,), step),
        )
        self.inside += time.process_time() - start
        return batch

    def compute_logprobs(self, batch: TrainBatch) -> TrainBatch:
        start = time.process_time()
        filled = torch.full(batch.rollouts.input_ids.shape, -0.1)
        batch = replace(
            batch, prev_logprobs=filled, reference_policy_logprobs=filled - 0.01, entropy=-filled
        )
        self.inside += time.process_time() - start
        return batch

    def train(self, batch: TrainBatch) -> TrainMetrics:
        return METRICS

    def refit(self) -> None:
        pass

    def reset_reference(self, pin: Path, *, reset_optimizer: bool) -> None:
        pass

    def validate(
        self, problems: Sequence[Problem], *, num_samples: int, step: int
    ) -> ValidationResult:
        raise NotImplementedError

    def save(self, directory: Path, *, weights_only: bool) -> None:
        (directory / "weights").write_bytes(b"0")

    def load(self, directory: Path, *, reference: Path | None) -> None:
        raise NotImplementedError


class Laps:
    """A metrics writer that notes the driver's seconds so far, behind each step."""

    def __init__(self, engine: StandInEngine) -> None:
        self._engine = engine
        self.marks = [time.process_time()]

    def write(self, record: StepRecord) -> None:
        self.marks.append(time.process_time() - self._engine.inside)

    def close(self) -> None:
        pass

    def least(self) -> float:
        """Seconds of the cheapest step but the first."""
        return min(b - a for a, b in zip(self.marks[1:], self.marks[2:], strict=False))


def driver_seconds(*, groups: int, num_samples: int, sequence: int, tasks: int = 1) -> float:
    """CPU seconds of a step of the loop outside the verbs."""
    config = load_config(
        CONF,
        [
            f"grpo.num_prompts_per_step={groups}",
            f"grpo.num_generations_per_prompt={num_samples}",
            f"policy.train_global_batch_size={groups * num_samples}",
            f"policy.max_total_sequence_length={sequence}",
            f"policy.generation.max_new_tokens={sequence - PROMPT_TOKENS}",
            "grpo.val_at_start=false",
            "grpo.val_period=0",
            "prorl.reset.patience=null",
            "checkpointing.save_period=1000",
            "prorl.schedule=[{name: run, num_steps: 4, reset_at_start: false, overrides: {}}]",
        ],
    )
    engine = StandInEngine(num_samples, sequence)
    laps = Laps(engine)
    with tempfile.TemporaryDirectory() as folder:
        context = RunContext(
            config=config_of_run(config, 0),
            run=schedule_runs(config.prorl.schedule)[0],
            prompts=PromptStream(
                [WeightedTask(Prompts(f"task{i}"), 1.0) for i in range(tasks)], seed=0
            ),
            validation_problems=[],
            store=CheckpointStore(Path(folder), keep_top_k=1),
            requests=RunRequests(Path(folder)),
            writers=[laps, JsonlWriter(Path(folder), completed_steps=0)],
        )
        prorl_train(engine, context, TrainState())
    return laps.least()


def reopen_seconds(rows: int) -> float:
    """CPU seconds to take up a history of ``rows`` steps again."""
    with tempfile.TemporaryDirectory() as folder:
        line = '{"step": %d, "run": "run1", "reset": null, "loss": 0.1, "kl": 0.001}\n'
        (Path(folder) / "metrics.jsonl").write_text("".join(line % i for i in range(1, rows + 1)))
        start = time.process_time()
        JsonlWriter(Path(folder), completed_steps=rows).close()
        return time.process_time() - start


def rotation_seconds(checkpoints: int) -> float:
    """CPU seconds to save once more beside so many kept checkpoints."""
    engine = StandInEngine(1, 32)
    with tempfile.TemporaryDirectory() as folder:
        store = CheckpointStore(Path(folder), keep_top_k=checkpoints + 1)
        for step in range(checkpoints):
            (Path(folder) / "checkpoints" / f"step_{step:06d}").mkdir(parents=True)
        start = time.process_time()
        store.save(engine, TrainState(step=checkpoints))
        return time.process_time() - start


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--campaign", action="store_true")
    is_campaign = parser.parse_args().campaign
    torch.set_num_threads(1)
    rows: list[tuple[str, Callable[[int], float], list[int]]] = [
        (
            "responses, 16 a group, 256 tokens",
            lambda n: driver_seconds(groups=n // 16, num_samples=16, sequence=256),
            [64, 512, 4096, 16384],
        ),
        (
            "tokens of a response, 256 responses",
            lambda n: driver_seconds(groups=16, num_samples=16, sequence=n),
            [256, 1024, 4096, 16384],
        ),
        (
            "groups, 2 responses of 64 tokens each",
            lambda n: driver_seconds(groups=n, num_samples=2, sequence=64),
            [32, 256, 2048, 8192],
        ),
        (
            "tasks, 256 groups",
            lambda n: driver_seconds(groups=256, num_samples=2, sequence=64, tasks=n),
            [1, 8, 64, 256],
        ),
        ("rows of the history, reopened", reopen_seconds, [500, 2000, 8000, 32000]),
        ("checkpoints in the directory, a save", rotation_seconds, [4, 32, 256, 1024]),
    ]
    print(f"| what grows | sizes | driver's CPU seconds | exponent (at most {MAX_EXPONENT}) |")
    print("|---|---|---|---|")
    missed = False
    for name, measure, sizes in rows:
        seconds = [min(measure(size) for _ in range(2)) for size in sizes]
        slope = exponent(sizes, seconds)
        missed |= not slope <= MAX_EXPONENT
        cells = ", ".join(f"{value:.4f}" for value in seconds)
        print(f"| {name} | {', '.join(map(str, sizes))} | {cells} | {slope:.2f} |", flush=True)
    if is_campaign:
        seconds_of_step = driver_seconds(groups=256, num_samples=16, sequence=8192)
        share = seconds_of_step / CAMPAIGN_STEP_SECONDS
        missed |= not share <= MAX_OVERHEAD
        print(
            f"\n4,096 responses of 8,192 tokens: {seconds_of_step:.1f} s, {share:.2%} of a step of "
            f"{CAMPAIGN_STEP_SECONDS:.0f} s (at most {MAX_OVERHEAD:.0%})"
        )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
