"""Which regime a benchmark is in: diminish, plateau or sustained, by a stated rule.

The ProRL paper (section 4, arXiv 2505.24864) names the regimes and shows examples but no
rule. Ours compares pass@k of the same problems, paired, at k = 1 and at the boundary
k = N/2 (128 of 256 samples), by sign-flip tests:

1. boundary (final against base, at N/2) and sharpening (the same at 1) are tested two-sided,
   together at level alpha by Holm's method; a change must also be at least MIN_CHANGE;
2. boundary lower -> diminish; boundary higher -> go to 3; boundary not shown to have
   moved -> "sharpened" if pass@1 rose, else "none";
3. final above intermediate at N/2, one-sided at level alpha and by MIN_CHANGE -> sustained;
   else plateau. Without an intermediate model -> "widened".

With nothing changed, something is named with probability at most alpha; with a true plateau,
"sustained" is named with probability at most alpha. Both hold per benchmark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from prorl_nemo.evaluation.intervals import bootstrap_interval

Regime = Literal["diminish", "plateau", "sustained", "widened", "sharpened", "none"]

ALPHA = 0.05
MIN_CHANGE = 0.01  # of pass@k; less has no name, however sure it is
NUM_FLIPS = 9999
_FLIPS_AT_ONCE = 500


@dataclass(frozen=True)
class PairedChange:
    """Mean change of pass@k between two models over the same problems."""

    k: int
    mean: float
    low: float  # 95% interval
    high: float
    p_value: float  # sign-flip; two-sided, or one-sided for a rise where a rise is asked for
    detectable: float  # change that would have been seen with 80% probability
    num_problems: int


@dataclass(frozen=True)
class RegimeVerdict:
    """The regime of one benchmark and the evidence for it."""

    regime: Regime
    boundary: PairedChange  # final - base at k = N/2
    first: PairedChange  # final - base at k = 1
    late: PairedChange | None  # final - intermediate at k = N/2


def boundary_k(num_samples: int) -> int:
    """The k at which the boundary is judged: half of the samples, as in the paper's 128 of 256.

    At k = N the estimate of a problem is all or nothing; at N/2 it still averages.
    """
    return max(1, num_samples // 2)


def judge_regime(
    base: NDArray[np.float64],  # [P, N] pass@k of each problem
    intermediate: NDArray[np.float64] | None,  # [P, N]
    final: NDArray[np.float64],  # [P, N]
    *,
    alpha: float = ALPHA,
    num_flips: int = NUM_FLIPS,
    seed: int = 0,
) -> RegimeVerdict:
    """Apply the rule of the module docstring. Rows of all arrays are the same problems."""
    k = boundary_k(base.shape[1])
    boundary = paired_change(base, final, k=k, num_flips=num_flips, seed=seed)
    first = paired_change(base, final, k=1, num_flips=num_flips, seed=seed)
    late = None
    if intermediate is not None:
        late = paired_change(
            intermediate, final, k=k, num_flips=num_flips, seed=seed, is_rise_asked=True
        )
    is_moved, is_sharpened = _holm(boundary.p_value, first.p_value, alpha=alpha)
    is_moved = is_moved and abs(boundary.mean) >= MIN_CHANGE
    regime: Regime
    if is_moved and boundary.mean < 0:
        regime = "diminish"
    elif is_moved and late is None:
        regime = "widened"
    elif is_moved and late is not None:
        is_late = late.p_value <= alpha and late.mean >= MIN_CHANGE
        regime = "sustained" if is_late else "plateau"
    else:
        regime = "sharpened" if is_sharpened and first.mean >= MIN_CHANGE else "none"
    return RegimeVerdict(regime, boundary, first, late)


def paired_change(
    before: NDArray[np.float64],  # [P, N] pass@k of each problem
    after: NDArray[np.float64],  # [P, N]
    *,
    k: int,
    num_flips: int = NUM_FLIPS,
    seed: int = 0,
    is_rise_asked: bool = False,
) -> PairedChange:
    """Change of the mean pass@k, with a bootstrap interval and a sign-flip p-value.

    The bootstrap follows the skew that a few changed problems among many unchanged make.
    """
    differences = after[:, k - 1] - before[:, k - 1]
    mean, low, high = bootstrap_interval(differences[:, None], seed=seed).at(0)
    num_problems = len(differences)
    error = float(differences.std(ddof=1)) / num_problems**0.5 if num_problems > 1 else 1.0
    return PairedChange(
        k=k,
        mean=mean,
        low=low,
        high=high,
        p_value=sign_flip_p_value(
            differences, num_flips=num_flips, seed=seed, is_one_sided=is_rise_asked
        ),
        detectable=error * float(stats.norm.ppf(0.975) + stats.norm.ppf(0.8)),
        num_problems=num_problems,
    )


def sign_flip_p_value(
    differences: NDArray[np.float64],  # [P]
    *,
    num_flips: int = NUM_FLIPS,
    seed: int = 0,
    is_one_sided: bool = False,
) -> float:
    """Probability of a mean at least this far from 0 (or this high) if every sign were a coin flip.

    If the two models solve each problem equally often, the sign of a problem's difference
    is a fair coin, so the test is exact for any number of problems and any distribution.
    The observed signs count as one of the flips, so p is never 0.
    """
    moved = differences[differences != 0.0]
    if not moved.size:
        return 1.0
    observed = moved.sum() if is_one_sided else abs(moved.sum())
    # Sums equal but for the order of addition must count as equal.
    bar = observed - 1e-9 * float(np.abs(moved).sum())
    rng = np.random.default_rng(seed)
    num_extreme = 0
    for start in range(0, num_flips, _FLIPS_AT_ONCE):
        shape = (min(_FLIPS_AT_ONCE, num_flips - start), moved.size)
        signs = 2.0 * rng.integers(0, 2, shape, dtype=np.int8) - 1.0
        sums = signs @ moved
        num_extreme += int(np.count_nonzero((sums if is_one_sided else np.abs(sums)) >= bar))
    return (1 + num_extreme) / (1 + num_flips)


def _holm(first: float, second: float, *, alpha: float) -> tuple[bool, bool]:
    """Which of two hypotheses Holm's step-down method rejects at family level alpha."""
    if min(first, second) > alpha / 2:
        return False, False
    if first <= second:
        return True, second <= alpha
    return first <= alpha, True
