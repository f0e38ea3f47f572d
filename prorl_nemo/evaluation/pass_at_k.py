"""Unbiased pass@k and mean best-of-k, for every k at once.

Estimators for single problems; means and intervals over problems are intervals.py's.
The ProRL paper does not state its estimator; this is the unbiased one of Chen et al.
2021 (arXiv 2107.03374, equation 1), evaluated in logarithms.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

# A continuous score counts as solved from here on. 0.99 is unsafe: some Reasoning Gym
# scorers give 0.99 and more to an answer that is wrong in one place.
SOLVED_THRESHOLD = 1.0 - 1e-9


def pass_at_k(
    num_correct: NDArray[np.int64],  # [P]
    *,
    num_samples: int,
    ks: NDArray[np.int64] | None = None,  # [K], each in 1..num_samples; default all of them
) -> NDArray[np.float64]:
    """Probability that k of a problem's n samples, drawn without replacement, hold a correct one.

    1 - C(n - c, k) / C(n, k), with c correct samples of n. Returns [P, K], within [0, 1],
    never falling in k, for n of any size.

    Raises ValueError when a count lies outside 0..n or a k outside 1..n.
    """
    counts = np.asarray(num_correct)
    if counts.size and (counts.min() < 0 or counts.max() > num_samples):
        raise ValueError(
            f"num_correct must lie in 0..{num_samples}, got {counts.min()}..{counts.max()}"
        )
    columns = _check_ks(ks, num_samples=num_samples)
    distinct, row_of_problem = np.unique(counts, return_inverse=True)
    rows = np.empty((distinct.size, columns.size))
    # Row by row: with n = 100,000 the table of all counts and all k would not fit.
    for row, count in enumerate(distinct):
        rows[row] = _pass_at_all_k(int(count), num_samples=num_samples)[columns - 1]
    return rows[row_of_problem.reshape(counts.shape)]


def mean_best_of_k(
    scores: NDArray[np.float64],  # [P, N]
    *,
    ks: NDArray[np.int64] | None = None,  # [K]
) -> NDArray[np.float64]:
    """Expected highest score among k of a problem's N samples, drawn without replacement. [P, K].

    The highest of k reaches the sample of rank j with the pass@k of j counts out of N, so
    the expectation is a sum of steps between neighbouring order statistics. For scores of
    0 and 1 it equals pass@k.
    """
    num_samples = scores.shape[1]
    descending = -np.sort(-scores, axis=1)
    steps = -np.diff(descending, axis=1, append=0.0)  # [P, N]; steps[:, j]: from rank j+1 to j
    reach = pass_at_k(np.arange(1, num_samples + 1), num_samples=num_samples, ks=ks)  # [N, K]
    return steps @ reach


def count_solved(
    scores: NDArray[np.float64],  # [P, N]
    *,
    threshold: float = SOLVED_THRESHOLD,
) -> NDArray[np.int64]:
    """Number of samples of each problem whose score reaches the threshold. [P]."""
    return cast("NDArray[np.int64]", np.count_nonzero(scores >= threshold, axis=1).astype(np.int64))


def _pass_at_all_k(count: int, *, num_samples: int) -> NDArray[np.float64]:
    """pass@1..n for one count c, shape [n].

    The probability of no success in k draws is the product over i < k of
    1 - c / (n - i); summing log1p and taking expm1 keeps full relative precision at both
    ends. From k > n - c on there are not enough failures left: exactly 1.
    """
    values = np.ones(num_samples)
    num_possible = num_samples - count  # k for which all draws may fail
    draws_left = np.arange(num_samples, count, -1, dtype=np.float64)  # n - i > c
    assert draws_left.size == num_possible
    values[:num_possible] = -np.expm1(np.cumsum(np.log1p(-count / draws_left)))
    # Neighbouring values may differ by less than the rounding of expm1.
    return cast("NDArray[np.float64]", np.maximum.accumulate(values))


def _check_ks(ks: NDArray[np.int64] | None, *, num_samples: int) -> NDArray[np.int64]:
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    if ks is None:
        return np.arange(1, num_samples + 1)
    columns = np.asarray(ks)
    if columns.size and (columns.min() < 1 or columns.max() > num_samples):
        raise ValueError(
            f"k must lie in 1..{num_samples} (the number of samples), "
            f"got {columns.min()}..{columns.max()}"
        )
    return columns
