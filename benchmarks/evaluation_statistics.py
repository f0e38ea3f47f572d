"""Coverage of the intervals, false positives and power of the regime rule, by simulation.

    python benchmarks/evaluation_statistics.py        (about two minutes on one core)

Problems have solve rates from a Beta distribution, so the true pass@k is known. Prints one
JSON line per setting. docs/evaluation.md quotes the output.
"""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import betaln

from prorl_nemo.evaluation.intervals import analytic_interval, bootstrap_interval
from prorl_nemo.evaluation.pass_at_k import pass_at_k
from prorl_nemo.evaluation.regimes import judge_regime

NUM_SAMPLES = 64
KS = np.array([1, 8, 32])


def coverage(a: float, b: float, num_problems: int, *, num_repeats: int) -> dict[str, object]:
    """Share of repeats whose 95% intervals hold the true pass@k, for each of KS."""
    rng = np.random.default_rng(7)
    truth = 1.0 - np.exp(betaln(a, b + KS) - betaln(a, b))
    analytic, bootstrap, num_bootstrap = np.zeros(3), np.zeros(3), num_repeats // 2
    for repeat in range(num_repeats):
        counts = rng.binomial(NUM_SAMPLES, rng.beta(a, b, num_problems))
        values = pass_at_k(counts, num_samples=NUM_SAMPLES, ks=KS)
        interval = analytic_interval(values)
        analytic += (interval.low <= truth) & (truth <= interval.high)
        if repeat < num_bootstrap:
            interval = bootstrap_interval(values, num_resamples=400, seed=repeat)
            bootstrap += (interval.low <= truth) & (truth <= interval.high)
    return {
        "beta": [a, b],
        "num_problems": num_problems,
        "true_pass_at_k": truth.round(3).tolist(),
        "analytic": (analytic / num_repeats).round(3).tolist(),
        "bootstrap": (bootstrap / num_bootstrap).round(3).tolist(),
    }


def verdicts(share: float, late_share: float, num_problems: int) -> dict[str, object]:
    """How often each regime is named when shares of the problems become solvable at 0.5.

    ``share`` of them until the intermediate model, ``late_share`` after it.
    """
    rng = np.random.default_rng(8)
    found: Counter[str] = Counter()
    num_repeats = 200
    for repeat in range(num_repeats):
        base = stats.beta.rvs(0.1, 1.0, size=num_problems, random_state=rng)
        lot = rng.random(num_problems)
        middle = np.where(lot < share, 0.5, base)
        final = np.where(lot < share + late_share, 0.5, base)
        curves: list[NDArray[np.float64]] = [
            pass_at_k(rng.binomial(NUM_SAMPLES, r), num_samples=NUM_SAMPLES)
            for r in (base, middle, final)
        ]
        found[judge_regime(*curves, num_flips=199, seed=repeat).regime] += 1
    unsolved = float(np.exp(betaln(0.1, 1.0 + 32) - betaln(0.1, 1.0)))
    return {
        "num_problems": num_problems,
        "true_change": round((share + late_share) * unsolved, 3),
        "true_late_change": round(late_share * unsolved, 3),
        "verdicts": {name: count / num_repeats for name, count in found.most_common()},
    }


def main() -> None:
    for a, b in ((0.5, 0.8), (0.1, 1.0), (3.0, 2.0)):
        for num_problems in (30, 100, 400):
            print(json.dumps(coverage(a, b, num_problems, num_repeats=1000)), flush=True)
    for num_problems in (30, 100, 400):
        for share, late in ((0.0, 0.0), (0.05, 0.0), (0.1, 0.0), (0.3, 0.0), (0.1, 0.1)):
            print(json.dumps(verdicts(share, late, num_problems)), flush=True)


if __name__ == "__main__":
    main()
