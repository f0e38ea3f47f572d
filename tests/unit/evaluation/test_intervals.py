"""Intervals: coverage by simulation, hand-worked numbers, parity with scipy's bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.special import betaln

from prorl_nemo.evaluation.intervals import (
    analytic_interval,
    bootstrap_interval,
    difference_interval,
)
from prorl_nemo.evaluation.pass_at_k import pass_at_k

KS = np.array([1, 8, 32])


def true_pass_at_k(a: float, b: float) -> NDArray[np.float64]:
    """1 - E[(1 - p)^k] for p ~ Beta(a, b)."""
    return np.asarray(1.0 - np.exp(betaln(a, b + KS) - betaln(a, b)))


@pytest.mark.parametrize(("a", "b", "num_problems"), [(0.5, 0.8, 100), (0.1, 1.0, 200)])
def test_95_percent_intervals_cover_the_truth(a: float, b: float, num_problems: int) -> None:
    rng = np.random.default_rng(20)
    truth = true_pass_at_k(a, b)
    num_repeats, analytic, bootstrap = 1000, np.zeros(3), np.zeros(3)
    for repeat in range(num_repeats):
        counts = rng.binomial(64, rng.beta(a, b, num_problems))
        values = pass_at_k(counts, num_samples=64, ks=KS)
        interval = analytic_interval(values)
        analytic += (interval.low <= truth) & (truth <= interval.high)
        if repeat % 2 == 0:  # the dear one
            interval = bootstrap_interval(values, num_resamples=250, seed=repeat)
            bootstrap += (interval.low <= truth) & (truth <= interval.high)
    # Means over the three k; one k alone has a standard error of 0.6 points.
    assert 0.93 <= (analytic / num_repeats).mean() <= 0.97
    assert 0.93 <= (2 * bootstrap / num_repeats).mean() <= 0.97
    assert (analytic / num_repeats > 0.93).all()


def test_a_wrong_interval_would_fail_the_coverage_test() -> None:
    """Negative control: taking samples for problems gives intervals that are far too short."""
    rng = np.random.default_rng(21)
    truth, covered = true_pass_at_k(0.5, 0.8)[0], 0
    for _ in range(300):
        solved = rng.random((100, 64)) < rng.beta(0.5, 0.8, (100, 1))
        interval = analytic_interval(solved.reshape(-1, 1).astype(float))
        covered += int(interval.low[0] <= truth <= interval.high[0])
    assert covered / 300 < 0.6


def test_nothing_solved_is_not_certainty() -> None:
    interval = analytic_interval(np.zeros((50, 1)))
    # Wilson for 0 of n, n = 50, with Student's t for z: t^2 / (n + t^2).
    t = float(stats.t.ppf(0.975, 49))
    assert interval.at(0) == pytest.approx((0.0, 0.0, t**2 / (50 + t**2)))
    mean, low, high = analytic_interval(np.ones((50, 1))).at(0)
    assert (mean, high) == (1.0, 1.0)
    assert low == pytest.approx(1 - t**2 / (50 + t**2))


def test_bounds_stay_within_the_unit_interval_and_hold_the_mean() -> None:
    rng = np.random.default_rng(5)
    for num_problems in (1, 2, 3, 10):
        values = rng.random((num_problems, 8)) ** 8
        interval = analytic_interval(values)
        assert (interval.low >= 0).all()
        assert (interval.high <= 1).all()
        assert (interval.low <= interval.mean).all()
        assert (interval.mean <= interval.high).all()
    assert analytic_interval(np.array([[0.3]])).at(0) == (0.3, 0.0, 1.0)


def test_bootstrap_agrees_with_scipy() -> None:
    values = np.random.default_rng(6).beta(0.3, 0.6, (60, 1))
    ours = bootstrap_interval(values, num_resamples=20_000)
    theirs = stats.bootstrap(
        (values[:, 0],), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(7)
    ).confidence_interval
    assert ours.low[0] == pytest.approx(theirs.low, abs=0.004)
    assert ours.high[0] == pytest.approx(theirs.high, abs=0.004)


def test_bootstrap_repeats_under_its_seed_and_copes_with_equal_values() -> None:
    values = np.random.default_rng(8).random((30, 3))
    one, two = bootstrap_interval(values, seed=3), bootstrap_interval(values, seed=3)
    np.testing.assert_array_equal(one.low, two.low)
    assert bootstrap_interval(np.full((9, 1), 0.25)).at(0) == (0.25, 0.25, 0.25)


def test_difference_interval_is_students() -> None:
    # Differences 0.1, 0.2, 0.3: mean 0.2, standard error 0.1 / sqrt(3), t(2) = 4.3027.
    mean, low, high = difference_interval(np.array([[0.1], [0.2], [0.3]])).at(0)
    assert mean == pytest.approx(0.2)
    assert high - mean == pytest.approx(4.302653 * 0.1 / 3**0.5, abs=1e-6)
    assert mean - low == pytest.approx(high - mean)


def test_no_problem_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one problem"):
        analytic_interval(np.zeros((0, 4)))
