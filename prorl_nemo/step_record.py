"""The record that a training step leaves: what it sampled, learned and cost."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from prorl_nemo.algorithms.kl import estimate_k3
from prorl_nemo.dynamic_sampling import SampledGroups
from prorl_nemo.reference_reset import Observation
from prorl_nemo.types import RolloutBatch, TrainBatch, TrainMetrics, ValidationResult

# A new tensor as large as the whole batch costs more in page faults than in arithmetic.
ROWS_AT_A_TIME = 256


@dataclass(frozen=True)
class SamplingMetrics:
    """Over everything generated in the step; rewards in [0, 1], lengths in tokens.

    ``pass_rate`` is the share of generated groups that were informative. Means are None
    when carried groups filled the step and nothing had to be generated.
    """

    num_groups_generated: int
    num_groups_informative: int
    num_groups_used: int
    num_groups_carried: int
    num_groups_stale: int
    num_requests: int
    pass_rate: float | None
    reward_mean: float | None
    task_rewards: Mapping[str, float]
    response_length_mean: float | None
    truncated_rate: float | None
    scorer_failure_rate: float | None
    message: str | None


@dataclass(frozen=True)
class BatchMetrics:
    """Over the groups that entered the loss, before the updates; nats per response token."""

    kl: float
    entropy: float
    staleness_mean: float
    staleness_max: int


@dataclass(frozen=True)
class StepRecord:
    """One row of the history.

    ``reset`` is why the reference was reset behind this step, or ``run_start`` for the first
    step of a run that began with a reset. ``seconds`` holds the whole step and its parts.
    """

    step: int
    run: str
    sampling: SamplingMetrics | None = None
    batch: BatchMetrics | None = None
    train: TrainMetrics | None = None
    validation: ValidationResult | None = None
    reset: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def validation_score(self) -> float | None:
        return self.validation.score if self.validation is not None else None

    def row(self) -> dict[str, Any]:
        """A flat mapping of metric names; parts that did not happen are left out."""
        row: dict[str, Any] = {"step": self.step, "run": self.run, "reset": self.reset}
        for part in (self.sampling, self.batch, self.train):
            row |= asdict(part) if part is not None else {}
        if self.validation is not None:
            row["validation_score"] = self.validation.score
            row["validation_task_scores"] = dict(self.validation.task_scores)
        return row | dict(self.seconds)


class Stopwatch:
    """Wall seconds of a step and of its named laps."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """Book the time since the last lap under ``name``."""
        now = time.perf_counter()
        self._laps[name] = now - self._last
        self._last = now

    def seconds(self) -> dict[str, float]:
        """All laps, and the whole as ``seconds``."""
        return {**self._laps, "seconds": time.perf_counter() - self._start}


def make_step_record(
    step: int,
    run: str,
    *,
    sampled: SampledGroups,
    batch: TrainBatch | None,
    metrics: TrainMetrics | None,
    validation: ValidationResult | None,
) -> StepRecord:
    """The record of a training step; ``batch`` is None when no informative group was found."""
    return StepRecord(
        step,
        run,
        sampling=summarize_sampling(sampled),
        batch=summarize_batch(batch, step=step) if batch is not None else None,
        train=metrics,
        validation=validation,
    )


def observe(record: StepRecord, *, request: str | None) -> Observation:
    """What the reset controller looks at behind a step; ``request`` is a reset by hand."""
    return Observation(
        step=record.step,
        kl=record.batch.kl if record.batch is not None else None,
        entropy=record.batch.entropy if record.batch is not None else None,
        validation_score=record.validation_score,
        request=request,
    )


def summarize_sampling(sampled: SampledGroups) -> SamplingMetrics:
    """Counts and means of a step's sampling."""
    generated, carried = sampled.generated, sampled.state.carried
    return SamplingMetrics(
        num_groups_generated=sampled.num_generated,
        num_groups_informative=sampled.num_informative,
        num_groups_used=sampled.rollouts.num_groups if sampled.rollouts is not None else 0,
        num_groups_carried=carried.num_groups if carried is not None else 0,
        num_groups_stale=sampled.num_stale_dropped,
        num_requests=sampled.num_requests,
        pass_rate=sampled.observed_pass_rate,
        reward_mean=_mean(generated.rewards) if generated is not None else None,
        task_rewards=_task_rewards(generated) if generated is not None else {},
        response_length_mean=_mean(generated.response_lengths) if generated is not None else None,
        truncated_rate=_mean(generated.truncated) if generated is not None else None,
        scorer_failure_rate=_mean(generated.scorer_failed) if generated is not None else None,
        message=sampled.message,
    )


def summarize_batch(batch: TrainBatch, *, step: int) -> BatchMetrics:
    """KL, entropy and staleness of the groups that step ``step`` learns from."""
    assert batch.entropy is not None, "compute_logprobs has run"
    staleness = step - 1 - batch.rollouts.policy_step
    return BatchMetrics(
        kl=reference_kl(batch),
        entropy=_masked_mean(torch.split(batch.entropy, ROWS_AT_A_TIME), batch.token_mask),
        staleness_mean=_mean(staleness),
        staleness_max=int(staleness.max()),
    )


def reference_kl(batch: TrainBatch) -> float:
    """Mean k3 estimate of KL(policy before the updates, reference), nats per token."""
    assert batch.prev_logprobs is not None, "compute_logprobs has run"
    assert batch.reference_policy_logprobs is not None, "compute_logprobs has run"
    per_token = (
        estimate_k3(policy, reference, input_clamp=None, output_clamp=None)
        for policy, reference in zip(
            torch.split(batch.prev_logprobs, ROWS_AT_A_TIME),
            torch.split(batch.reference_policy_logprobs, ROWS_AT_A_TIME),
            strict=True,
        )
    )
    return _masked_mean(per_token, batch.token_mask)


def _task_rewards(batch: RolloutBatch) -> dict[str, float]:
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(batch.task_names):
        rows.setdefault(name, []).append(row)
    return {name: _mean(batch.rewards[torch.tensor(rows[name])]) for name in sorted(rows)}


def _mean(values: Tensor) -> float:
    return float(values.double().mean())


def _masked_mean(blocks: Iterable[Tensor], mask: Tensor) -> float:
    """Mean of values where ``mask`` [B, S] holds; they come ROWS_AT_A_TIME rows at a time."""
    sums = [
        torch.where(part, values, 0.0).sum(dim=-1).double().sum()
        for values, part in zip(blocks, torch.split(mask, ROWS_AT_A_TIME), strict=True)
    ]
    return float(torch.stack(sums).sum()) / max(1, int(torch.count_nonzero(mask)))
