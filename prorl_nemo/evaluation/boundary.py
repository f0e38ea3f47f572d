"""Boundary analysis: what training did to the set of problems a model can solve.

Reads samples, computes; draws and prints nothing. `analyze` is the entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prorl_nemo.evaluation.intervals import MeanInterval, analytic_interval
from prorl_nemo.evaluation.pass_at_k import (
    SOLVED_THRESHOLD,
    count_solved,
    mean_best_of_k,
    pass_at_k,
)
from prorl_nemo.evaluation.sample_files import SampleMeta
from prorl_nemo.evaluation.samples import IncompleteSamples, SampleSet, read_evaluation


@dataclass(frozen=True)
class ModelCurve:
    """One model on one benchmark, over k = 1..N."""

    meta: SampleMeta
    per_problem: NDArray[np.float64]  # [P, N] pass@k
    pass_at_k: MeanInterval  # [N]
    best_of_k: MeanInterval | None  # [N] mean best score; None where scores are 0 and 1
    truncated_rate: float
    mean_tokens: float


@dataclass(frozen=True)
class BenchmarkAnalysis:
    """All models on one benchmark, base first."""

    meta: SampleMeta  # the first model's; settings are the same for all
    curves: tuple[ModelCurve, ...]


@dataclass(frozen=True)
class BoundaryAnalysis:
    """The whole analysis of a set of run or sample directories."""

    models: tuple[str, ...]  # base first
    benchmarks: tuple[BenchmarkAnalysis, ...]
    incomplete: tuple[IncompleteSamples, ...]


def analyze(
    directories: Sequence[Path], *, threshold: float = SOLVED_THRESHOLD
) -> BoundaryAnalysis:
    """Analyse the samples of run directories, or of folders of samples.

    Raises ValueError, naming file and line, for samples that can't be compared.
    """
    evaluation = read_evaluation(directories)
    return BoundaryAnalysis(
        models=evaluation.models(),
        benchmarks=tuple(
            BenchmarkAnalysis(
                meta=sets[0].meta,
                curves=tuple(make_curve(s, threshold=threshold) for s in sets),
            )
            for sets in evaluation.benchmarks().values()
        ),
        incomplete=evaluation.incomplete,
    )


def make_curve(samples: SampleSet, *, threshold: float = SOLVED_THRESHOLD) -> ModelCurve:
    """pass@k of one set, and mean best-of-k where scores are continuous."""
    counts = count_solved(samples.rewards, threshold=threshold)
    per_problem = pass_at_k(counts, num_samples=samples.num_samples)
    is_binary = bool(np.isin(samples.rewards, (0.0, 1.0)).all())
    return ModelCurve(
        meta=samples.meta,
        per_problem=per_problem,
        pass_at_k=analytic_interval(per_problem),
        best_of_k=None if is_binary else analytic_interval(mean_best_of_k(samples.rewards)),
        truncated_rate=float(samples.truncated.mean()),
        mean_tokens=float(samples.num_tokens.mean()),
    )
