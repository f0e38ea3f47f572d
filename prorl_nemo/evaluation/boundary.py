"""Boundary analysis: what training did to the set of problems a model can solve.

Reads samples and computes; draws and prints nothing. `analyze` is the entry. The first
model of a benchmark is called its base, the last its final one, the one in the middle
the intermediate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prorl_nemo.evaluation.gains import GainCorrelation, correlate_gains, make_gain
from prorl_nemo.evaluation.intervals import MeanInterval, analytic_interval, bootstrap_interval
from prorl_nemo.evaluation.pass_at_k import (
    SOLVED_THRESHOLD,
    count_solved,
    mean_best_of_k,
    pass_at_k,
)
from prorl_nemo.evaluation.regimes import RegimeVerdict, boundary_k, judge_regime
from prorl_nemo.evaluation.sample_files import SampleMeta
from prorl_nemo.evaluation.samples import IncompleteSamples, SampleSet, read_evaluation
from prorl_nemo.evaluation.transitions import Transitions, find_transitions


@dataclass(frozen=True)
class ModelCurve:
    """One model on one benchmark, over k = 1..N."""

    meta: SampleMeta
    counts: NDArray[np.int64]  # [P] solved samples
    per_problem: NDArray[np.float64]  # [P, N] pass@k
    pass_at_k: MeanInterval  # [N], analytic
    bootstrap: MeanInterval  # [N], the same means
    best_of_k: MeanInterval | None  # [N] mean best score; None where all scores are 0 or 1
    mean_score: MeanInterval  # [1]
    truncated_rate: float
    mean_tokens: float


@dataclass(frozen=True)
class BenchmarkAnalysis:
    """All models on one benchmark, and what changed from the first to the last."""

    meta: SampleMeta  # the first model's; the settings are the same for all
    problem_ids: tuple[str, ...]
    curves: tuple[ModelCurve, ...]  # base first
    verdict: RegimeVerdict | None  # None with a single model
    transitions: Transitions | None

    @property
    def boundary_k(self) -> int:
        return boundary_k(self.meta.num_samples)


@dataclass(frozen=True)
class BoundaryAnalysis:
    """The whole analysis of a set of run or sample directories."""

    models: tuple[str, ...]  # base first
    benchmarks: tuple[BenchmarkAnalysis, ...]
    gains: tuple[GainCorrelation, ...]  # at k = 1 and at the boundary; sweeps left out
    incomplete: tuple[IncompleteSamples, ...]
    threshold: float


def analyze(
    directories: Sequence[Path], *, threshold: float = SOLVED_THRESHOLD
) -> BoundaryAnalysis:
    """Analyse the samples of run directories, or of folders of samples.

    A score counts as solved from ``threshold`` on. Raises ValueError, naming file and
    line, for samples that are damaged or can't be compared.
    """
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"threshold must lie in (0, 1], got {threshold}")
    evaluation = read_evaluation(directories)
    groups = evaluation.benchmarks()
    return BoundaryAnalysis(
        models=evaluation.models(),
        benchmarks=tuple(
            sorted((analyze_benchmark(s, threshold=threshold) for s in groups.values()), key=_order)
        ),
        gains=_make_gains(list(groups.values()), threshold=threshold),
        incomplete=evaluation.incomplete,
        threshold=threshold,
    )


def analyze_benchmark(
    sets: Sequence[SampleSet], *, threshold: float = SOLVED_THRESHOLD
) -> BenchmarkAnalysis:
    """Curves of each model; regime and transitions where there are two models or more."""
    curves = tuple(make_curve(s, threshold=threshold) for s in sets)
    base, final = curves[0], curves[-1]
    verdict, transitions = None, None
    if len(curves) > 1:
        middle = curves[len(curves) // 2].per_problem if len(curves) > 2 else None
        verdict = judge_regime(base.per_problem, middle, final.per_problem)
        transitions = find_transitions(
            base.counts,
            final.counts,
            num_samples=base.meta.num_samples,
            problem_ids=sets[0].problem_ids,
        )
    return BenchmarkAnalysis(sets[0].meta, sets[0].problem_ids, curves, verdict, transitions)


def make_curve(samples: SampleSet, *, threshold: float = SOLVED_THRESHOLD) -> ModelCurve:
    """pass@k of one set, and mean best-of-k where scores are continuous."""
    counts = count_solved(samples.rewards, threshold=threshold)
    per_problem = pass_at_k(counts, num_samples=samples.num_samples)
    is_binary = bool(np.isin(samples.rewards, (0.0, 1.0)).all())
    return ModelCurve(
        meta=samples.meta,
        counts=counts,
        per_problem=per_problem,
        pass_at_k=analytic_interval(per_problem),
        bootstrap=bootstrap_interval(per_problem),
        best_of_k=None if is_binary else analytic_interval(mean_best_of_k(samples.rewards)),
        mean_score=analytic_interval(samples.rewards.mean(axis=1, keepdims=True)),
        truncated_rate=float(samples.truncated.mean()),
        mean_tokens=float(samples.num_tokens.mean()),
    )


def _order(benchmark: BenchmarkAnalysis) -> tuple[int, str, float, str]:
    """Trained tasks first, then unseen ones, then sweeps from easy to hard."""
    meta = benchmark.meta
    rank = ("trained", "held_out_task", "sweep").index(meta.role)
    return (rank, meta.sweep_group or "", meta.sweep_value or 0.0, meta.benchmark)


def _make_gains(
    groups: Sequence[Sequence[SampleSet]], *, threshold: float
) -> tuple[GainCorrelation, ...]:
    pairs = [
        (sets[0], sets[-1])
        for sets in groups
        if len(sets) > 1 and sets[0].meta.role != "sweep" and sets[0].num_samples > 1
    ]
    if not pairs:
        return ()
    smallest = min(base.num_samples for base, _ in pairs)
    return tuple(
        correlate_gains(
            [make_gain(base, final, k=k, threshold=threshold) for base, final in pairs], k=k
        )
        for k in sorted({1, boundary_k(smallest)})
    )
