"""Means over problems with 95% intervals, analytic and by bootstrap.

The unit is the problem: values of one problem at different k, or of its samples, are
dependent, values of different problems are not. An interval therefore speaks about other
problems of the same kind, the sampling of responses included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import stats

NUM_RESAMPLES = 2000
_RESAMPLES_AT_ONCE = 250
_PSEUDO_PROBLEMS = 2.0


@dataclass(frozen=True)
class MeanInterval:
    """Mean over problems, with the ends of its interval, for each of K columns."""

    mean: NDArray[np.float64]  # [K]
    low: NDArray[np.float64]  # [K]
    high: NDArray[np.float64]  # [K]
    num_problems: int

    def at(self, column: int) -> tuple[float, float, float]:
        """(mean, low, high) of one column."""
        return float(self.mean[column]), float(self.low[column]), float(self.high[column])


def analytic_interval(
    values: NDArray[np.float64],  # [P, K], in [0, 1]
    *,
    confidence: float = 0.95,
) -> MeanInterval:
    """Wilson's score interval with the effective number of problems, within [0, 1].

    Values in [0, 1] vary at most as much as coin flips of the same mean; the effective
    number of problems is that of coin flips with the observed standard error (Korn and
    Graubard 1998), Student's t in place of z. The observed variance is first averaged with
    two pseudo-problems of the greatest variance: near 0 and 1 a few rare problems carry it
    all and are often not among the P seen. Where all problems agree it becomes the plain
    Wilson interval: 0 of P solved gives [0, about 4/P], not [0, 0].
    """
    num_problems = _check_values(values)
    mean = values.mean(axis=0)
    most = mean * (1.0 - mean)  # variance of coin flips of this mean
    if num_problems == 1:
        return MeanInterval(mean, np.zeros_like(mean), np.ones_like(mean), 1)
    variance = values.var(axis=0, ddof=1)
    variance = (num_problems - 1) * variance + _PSEUDO_PROBLEMS * most
    variance /= num_problems - 1 + _PSEUDO_PROBLEMS
    ratio = np.divide(most, variance, out=np.ones_like(mean), where=variance > 1e-15)
    effective = np.maximum(num_problems * ratio, num_problems - 1.0)
    t = float(stats.t.ppf(0.5 + confidence / 2, num_problems - 1))
    shrink = 1.0 + t**2 / effective
    centre = (mean + t**2 / (2 * effective)) / shrink
    half = t * np.sqrt(most / effective + t**2 / (4 * effective**2)) / shrink
    low = np.clip(np.minimum(centre - half, mean), 0.0, 1.0)
    high = np.clip(np.maximum(centre + half, mean), 0.0, 1.0)
    return MeanInterval(mean, low, high, num_problems)


def bootstrap_interval(
    values: NDArray[np.float64],  # [P, K]
    *,
    confidence: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> MeanInterval:
    """Bias-corrected and accelerated (BCa) bootstrap over problems (Efron 1987).

    One set of resamples serves all columns. Where every problem has the same value there
    is nothing to resample and the interval is that value: use the analytic one.
    """
    num_problems = _check_values(values)
    means = _resampled_means(values, num_resamples=num_resamples, seed=seed)  # [R, K]
    mean = values.mean(axis=0)
    tail = (1.0 - confidence) / 2
    # Half of the ties, as means of few problems are often exactly equal.
    below = np.mean(means < mean, axis=0) + 0.5 * np.mean(means == mean, axis=0)
    edge = 0.5 / num_resamples
    bias = stats.norm.ppf(np.clip(below, edge, 1.0 - edge))
    deviations = values - mean  # mean minus jackknife means, up to a factor
    cubes, squares = (deviations**3).sum(axis=0), (deviations**2).sum(axis=0)
    acceleration = np.divide(
        cubes, 6.0 * squares**1.5, out=np.zeros_like(mean), where=squares > 1e-15
    )
    ends = [
        _column_quantiles(means, _bca_level(bias, acceleration, level))
        for level in (tail, 1 - tail)
    ]
    return MeanInterval(mean, np.minimum(ends[0], mean), np.maximum(ends[1], mean), num_problems)


def difference_interval(
    differences: NDArray[np.float64],  # [P, K], paired, in [-1, 1]
    *,
    confidence: float = 0.95,
) -> MeanInterval:
    """Student's t interval of the mean paired difference over problems, within [-1, 1]."""
    num_problems = _check_values(differences)
    mean = differences.mean(axis=0)
    if num_problems == 1:
        return MeanInterval(mean, np.full_like(mean, -1.0), np.ones_like(mean), 1)
    t = float(stats.t.ppf(0.5 + confidence / 2, num_problems - 1))
    half = t * differences.std(axis=0, ddof=1) / np.sqrt(num_problems)
    low, high = np.clip(mean - half, -1.0, 1.0), np.clip(mean + half, -1.0, 1.0)
    return MeanInterval(mean, low, high, num_problems)


def _resampled_means(
    values: NDArray[np.float64],  # [P, K]
    *,
    num_resamples: int,
    seed: int,
) -> NDArray[np.float64]:
    """Means of problems drawn with replacement, [R, K], in blocks that bound the memory."""
    num_problems = len(values)
    rng = np.random.default_rng(seed)
    means = np.empty((num_resamples, values.shape[1]))
    for start in range(0, num_resamples, _RESAMPLES_AT_ONCE):
        size = min(_RESAMPLES_AT_ONCE, num_resamples - start)
        drawn = rng.integers(0, num_problems, (size, num_problems))
        cells = drawn + num_problems * np.arange(size)[:, None]
        counts = np.bincount(cells.ravel(), minlength=size * num_problems)
        means[start : start + size] = counts.reshape(size, num_problems) @ values / num_problems
    return means


def _bca_level(
    bias: NDArray[np.float64], acceleration: NDArray[np.float64], level: float
) -> NDArray[np.float64]:
    shifted = bias + stats.norm.ppf(level)
    return cast(
        "NDArray[np.float64]", stats.norm.cdf(bias + shifted / (1.0 - acceleration * shifted))
    )


def _column_quantiles(
    rows: NDArray[np.float64], levels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Quantile of each column at a level of its own. rows [R, K], levels [K] -> [K]."""
    ordered = np.sort(rows, axis=0)
    positions = levels * (len(rows) - 1)
    lower = np.floor(positions).astype(np.int64)
    upper = np.minimum(lower + 1, len(rows) - 1)
    columns = np.arange(rows.shape[1])
    share = positions - lower
    return ordered[lower, columns] * (1 - share) + ordered[upper, columns] * share


def _check_values(values: NDArray[np.float64]) -> int:
    if values.ndim != 2 or not len(values):
        raise ValueError(f"an interval needs values of at least one problem, got {values.shape}")
    return len(values)
