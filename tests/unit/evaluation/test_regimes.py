"""The regime rule: exactness of its test, false positives and power by simulation."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from prorl_nemo.evaluation import regimes
from prorl_nemo.evaluation.pass_at_k import pass_at_k
from prorl_nemo.evaluation.regimes import Regime, boundary_k, judge_regime, sign_flip_p_value

NUM_SAMPLES = 64


def curves(rng: np.random.Generator, rates: NDArray[np.float64]) -> NDArray[np.float64]:
    return pass_at_k(rng.binomial(NUM_SAMPLES, rates), num_samples=NUM_SAMPLES)


def simulate(
    rng: np.random.Generator,
    *,
    betas: tuple[tuple[float, float], ...],
    num_repeats: int,
    num_problems: int = 100,
) -> dict[Regime, float]:
    """Share of each verdict when base, intermediate and final have these solve rates."""
    found: Counter[Regime] = Counter()
    grid = np.linspace(0.0005, 0.9995, 1000)
    quantiles = [stats.beta.ppf(grid, a, b) for a, b in betas]
    for _ in range(num_repeats):
        ranks = rng.random(num_problems)  # what is hard for one model is hard for all
        models = [curves(rng, np.interp(ranks, grid, q)) for q in quantiles]
        seed = int(rng.integers(1 << 30))
        found[judge_regime(*models, num_flips=99, seed=seed).regime] += 1
    return {name: count / num_repeats for name, count in found.items()}


@pytest.fixture(autouse=True)
def _short_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interval shown beside a verdict plays no part in it."""
    short = regimes.bootstrap_interval
    monkeypatch.setattr(
        regimes, "bootstrap_interval", lambda v, seed: short(v, num_resamples=10, seed=seed)
    )


@pytest.mark.parametrize("beta", [(0.3, 1.0), (0.05, 1.0), (2.0, 0.5)])
def test_no_change_is_named_at_most_once_in_twenty(beta: tuple[float, float]) -> None:
    shares = simulate(np.random.default_rng(1), betas=(beta, beta, beta), num_repeats=400)
    # 5% plus two standard errors of the simulation.
    assert 1 - shares.get("none", 0.0) <= 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5


def test_a_true_plateau_is_called_sustained_at_most_once_in_twenty() -> None:
    betas = ((0.1, 1.5), (0.4, 1.0), (0.4, 1.0))
    shares = simulate(np.random.default_rng(2), betas=betas, num_repeats=400)
    assert shares["plateau"] >= 0.9
    assert shares.get("sustained", 0.0) <= 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5


@pytest.mark.parametrize(
    ("expected", "betas"),
    [
        ("sustained", ((0.1, 1.5), (0.3, 1.0), (0.8, 0.8))),
        ("diminish", ((3.0, 2.0), (0.5, 0.12), (0.3, 0.07))),
        ("sharpened", ((4.0, 3.0), (9.0, 2.0), (9.0, 1.0))),
    ],
)
def test_true_changes_are_found(expected: Regime, betas: tuple[tuple[float, float], ...]) -> None:
    shares = simulate(np.random.default_rng(3), betas=betas, num_repeats=100)
    assert shares.get(expected, 0.0) >= 0.8


def test_sign_flip_is_the_exact_test() -> None:
    differences = np.array([0.5, 0.25, -0.125, 0.75, 0.0, 0.3])
    moved = differences[differences != 0]
    sums = [abs(np.dot(s, moved)) for s in itertools.product((-1, 1), repeat=len(moved))]
    exact = np.mean(np.array(sums) >= abs(moved.sum()) - 1e-12)
    assert sign_flip_p_value(differences, num_flips=40_000) == pytest.approx(exact, abs=0.005)
    one_sided = sign_flip_p_value(differences, num_flips=40_000, is_one_sided=True)
    assert one_sided == pytest.approx(exact / 2, abs=0.005)


def test_no_difference_at_all_has_p_one() -> None:
    assert sign_flip_p_value(np.zeros(40)) == 1.0


def test_three_changed_problems_prove_nothing() -> None:
    # Three equal signs of three: 2 in 2**3.
    differences = np.concatenate([np.zeros(97), np.full(3, 0.9)])
    assert sign_flip_p_value(differences) == pytest.approx(0.25, abs=0.02)


def test_a_sure_but_tiny_change_has_no_name() -> None:
    base = np.tile(np.linspace(0.2, 0.8, 8), (100, 1))
    verdict = judge_regime(base, base + 0.001, base + 0.002)
    assert verdict.boundary.p_value < 0.001
    assert verdict.regime == "none"


def test_without_an_intermediate_a_rise_is_only_widened() -> None:
    rng = np.random.default_rng(4)
    base, final = (curves(rng, rng.beta(a, 1.0, 100)) for a in (0.05, 1.0))
    assert judge_regime(base, None, final).regime == "widened"


def test_the_boundary_is_half_of_the_samples() -> None:
    assert [boundary_k(n) for n in (1, 2, 16, 256)] == [1, 1, 8, 128]


def test_detectable_change_is_two_point_eight_standard_errors() -> None:
    before, after = np.zeros((4, 2)), np.tile([[0.0], [0.2], [0.4], [0.6]], (1, 2))
    change = regimes.paired_change(before, after, k=1)
    # Standard deviation of 0, .2, .4, .6 is 0.2582, its standard error 0.1291.
    assert change.detectable == pytest.approx((1.959964 + 0.841621) * 0.2581989 / 2, abs=1e-6)
    assert change.mean == pytest.approx(0.3)
