"""Problems newly solved and newly lost between two models, and what chance alone would do.

A problem is newly solved when the first model never solves it in its n samples and the
second does at least once. With rare successes that happens by luck, so every count comes
with the number that luck gives if both models solve each problem equally often.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import gammaln

from prorl_nemo.evaluation.pass_at_k import pass_at_k


@dataclass(frozen=True)
class Crossing:
    """Problems that crossed the boundary in one direction."""

    problem_ids: tuple[str, ...]
    num_by_chance: float  # expected if nothing changed
    p_value: float  # of at least this many, if nothing changed
    certain_ids: tuple[str, ...]  # each beyond chance by itself (Holm over problems, 5%)
    share_at_k: NDArray[np.float64]  # [N] unsolved in k samples by the one, solved by the other


@dataclass(frozen=True)
class Transitions:
    """Both directions between a base and a final model."""

    num_problems: int
    num_samples: int
    newly_solved: Crossing
    newly_lost: Crossing
    net_p_value: float  # two-sided sign test, newly solved against newly lost (McNemar)


def find_transitions(
    base_counts: NDArray[np.int64],  # [P] correct samples
    final_counts: NDArray[np.int64],  # [P]
    *,
    num_samples: int,
    problem_ids: tuple[str, ...],
) -> Transitions:
    """Compare solved counts of the same problems by two models."""
    solved = _find_crossing(base_counts, final_counts, num_samples, problem_ids)
    lost = _find_crossing(final_counts, base_counts, num_samples, problem_ids)
    num_solved, num_lost = len(solved.problem_ids), len(lost.problem_ids)
    total = num_solved + num_lost
    net = float(stats.binomtest(num_solved, total, 0.5).pvalue) if total else 1.0
    return Transitions(len(problem_ids), num_samples, solved, lost, net)


def _find_crossing(
    before: NDArray[np.int64],
    after: NDArray[np.int64],
    num_samples: int,
    problem_ids: tuple[str, ...],
) -> Crossing:
    has_crossed = (before == 0) & (after > 0)
    chances = chance_of_crossing(before + after, num_samples=num_samples)
    count = int(has_crossed.sum())
    fails = 1.0 - pass_at_k(before, num_samples=num_samples)
    succeeds = pass_at_k(after, num_samples=num_samples)
    certain = _holm_certain(np.where(has_crossed, chances, 1.0))
    return Crossing(
        problem_ids=tuple(p for p, c in zip(problem_ids, has_crossed, strict=True) if c),
        num_by_chance=float(chances.sum()),
        p_value=upper_tail(chances, count),
        certain_ids=tuple(p for p, c in zip(problem_ids, certain, strict=True) if c),
        # The two models' samples are independent, so the product is unbiased.
        share_at_k=(fails * succeeds).mean(axis=0),
    )


def chance_of_crossing(
    total_counts: NDArray[np.int64],  # [P] correct samples of both models together
    *,
    num_samples: int,
) -> NDArray[np.float64]:
    """Probability that all correct samples fall to one given model, if both are alike. [P].

    Given m correct among 2n exchangeable samples: C(n, m) / C(2n, m), about 2**-m.
    0 where there is nothing to fall (m = 0) or no room (m > n).
    """
    m = np.asarray(total_counts, dtype=np.float64)
    n = float(num_samples)
    fits = (m >= 1) & (m <= n)
    inside = np.where(fits, m, 1.0)
    log_ratio = (
        gammaln(n + 1) - gammaln(n - inside + 1) - gammaln(2 * n + 1) + gammaln(2 * n - inside + 1)
    )
    return np.where(fits, np.exp(log_ratio), 0.0)


def upper_tail(chances: NDArray[np.float64], count: int) -> float:
    """P(at least ``count`` of independent events with these chances): Poisson-binomial."""
    if count == 0:
        return 1.0
    probabilities = np.zeros(count)  # of 0..count-1 successes so far
    probabilities[0] = 1.0
    for chance in chances[chances > 1e-15]:
        shifted = np.concatenate([[0.0], probabilities[:-1]])
        probabilities = probabilities * (1.0 - chance) + shifted * chance
    return float(np.clip(1.0 - probabilities.sum(), 0.0, 1.0))


def _holm_certain(p_values: NDArray[np.float64], *, alpha: float = 0.05) -> NDArray[np.bool_]:
    order = np.argsort(p_values, kind="stable")
    levels = alpha / (len(p_values) - np.arange(len(p_values)))
    is_rejected = np.logical_and.accumulate(p_values[order] <= levels)
    result = np.zeros(len(p_values), dtype=np.bool_)
    result[order] = is_rejected
    return result
