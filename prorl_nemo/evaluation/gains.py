"""Gain of training against where the base model stood, over benchmarks.

The paper reports a negative correlation. Two things make one without any effect: the
base's sampling noise, which enters the gain with the opposite sign, and the ceiling at 1.
The first is removed here: the base's position and the base value in the gain come from
different halves of its samples. The second is not, and the report says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from prorl_nemo.evaluation.intervals import difference_interval
from prorl_nemo.evaluation.pass_at_k import count_solved, pass_at_k
from prorl_nemo.evaluation.samples import SampleSet

MIN_TASKS = 4  # Fisher's z needs more than three pairs


@dataclass(frozen=True)
class Gain:
    """One benchmark: where the base stood, and what training added at the same k."""

    benchmark: str
    base: float  # from one half of the base's samples
    gain: float  # final minus the base's other half
    low: float  # 95% interval of the gain, over problems
    high: float
    num_problems: int


@dataclass(frozen=True)
class GainCorrelation:
    """Gains at one k over all benchmarks, and their correlation with the base."""

    k: int
    gains: tuple[Gain, ...]
    pearson: float | None  # None with fewer than MIN_TASKS benchmarks or no spread
    low: float | None  # 95% interval by Fisher's z
    high: float | None
    spearman: float | None


def make_gain(base: SampleSet, final: SampleSet, *, k: int, threshold: float) -> Gain:
    """Position and gain at k; k is at most half the samples. Needs two samples or more."""
    even = count_solved(base.rewards[:, 0::2], threshold=threshold)
    odd = count_solved(base.rewards[:, 1::2], threshold=threshold)
    ks = np.array([k])
    position = pass_at_k(even, num_samples=base.rewards[:, 0::2].shape[1], ks=ks)
    before = pass_at_k(odd, num_samples=base.rewards[:, 1::2].shape[1], ks=ks)
    counts = count_solved(final.rewards, threshold=threshold)
    after = pass_at_k(counts, num_samples=final.num_samples, ks=ks)
    gain, low, high = difference_interval(after - before).at(0)
    return Gain(
        base.meta.benchmark, float(position.mean()), gain, low, high, num_problems=len(position)
    )


def correlate_gains(gains: Sequence[Gain], *, k: int) -> GainCorrelation:
    """Pearson's correlation with Fisher's interval, and Spearman's, over benchmarks."""
    x = np.array([g.base for g in gains])
    y = np.array([g.gain for g in gains])
    if len(gains) < MIN_TASKS or np.ptp(x) < 1e-12 or np.ptp(y) < 1e-12:
        return GainCorrelation(k, tuple(gains), None, None, None, None)
    pearson = float(np.corrcoef(x, y)[0, 1])
    low, high = fisher_interval(pearson, num_pairs=len(gains))
    spearman = float(stats.spearmanr(x, y).statistic)
    return GainCorrelation(k, tuple(gains), pearson, low, high, spearman)


def fisher_interval(
    correlation: float, *, num_pairs: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of Pearson's correlation of num_pairs > 3 pairs by Fisher's z-transformation."""
    if num_pairs <= 3:
        raise ValueError(f"an interval of a correlation needs 4 pairs or more, got {num_pairs}")
    bounded = float(np.clip(correlation, -1.0 + 1e-12, 1.0 - 1e-12))
    centre = np.arctanh(bounded)
    half = float(stats.norm.ppf(0.5 + confidence / 2)) / np.sqrt(num_pairs - 3)
    ends: NDArray[np.float64] = np.tanh(np.array([centre - half, centre + half]))
    return float(ends[0]), float(ends[1])
