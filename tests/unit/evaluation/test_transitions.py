"""Newly solved and newly lost problems, against exact probabilities."""

from __future__ import annotations

import itertools
from math import comb

import numpy as np
import pytest

from prorl_nemo.evaluation.transitions import chance_of_crossing, find_transitions, upper_tail


def test_chance_is_the_hypergeometric_probability() -> None:
    # All m of 2n samples in one given half: C(n, m) / C(2n, m).
    chances = chance_of_crossing(np.array([0, 1, 2, 5, 8, 9]), num_samples=8)
    expected = [0.0, 0.5, comb(8, 2) / comb(16, 2), comb(8, 5) / comb(16, 5), 1 / comb(16, 8), 0.0]
    np.testing.assert_allclose(chances, expected, rtol=1e-10)


def test_upper_tail_equals_enumeration() -> None:
    chances = np.array([0.5, 0.1, 0.9, 0.0, 0.3])
    for count in range(6):
        expected = 0.0
        for outcome in itertools.product((0, 1), repeat=5):
            if sum(outcome) >= count:
                expected += np.prod(np.where(outcome, chances, 1 - chances))
        assert upper_tail(chances, count) == pytest.approx(expected, abs=1e-12)


def test_counts_worked_by_hand() -> None:
    base = np.array([0, 0, 0, 4, 2, 0])
    final = np.array([4, 1, 0, 0, 3, 0])
    result = find_transitions(base, final, num_samples=8, problem_ids=tuple("abcdef"))
    assert result.newly_solved.problem_ids == ("a", "b")
    assert result.newly_lost.problem_ids == ("d",)
    # Four of 16 in one half: C(8,4)/C(16,4) = 70/1820; two such problems, one of m = 1,
    # one of m = 5: C(8,5)/C(16,5) = 56/4368.
    expected = 2 * 70 / 1820 + 0.5 + 56 / 4368
    assert result.newly_solved.num_by_chance == pytest.approx(expected)
    assert result.newly_lost.num_by_chance == pytest.approx(expected)
    assert result.net_p_value == pytest.approx(1.0)  # 2 against 1 of 3
    # At k = n the share is the count; at k = 1 the mean of (1 - base rate) * final rate.
    assert result.newly_solved.share_at_k[-1] == pytest.approx(2 / 6)
    expected = (0.5 + 0.125 + 0 + 0 + 0.75 * 0.375 + 0) / 6
    assert result.newly_solved.share_at_k[0] == pytest.approx(expected)


def test_one_lucky_sample_is_not_certain_but_a_hundred_are() -> None:
    base, final = np.array([0, 0, 9]), np.array([1, 100, 9])
    result = find_transitions(base, final, num_samples=256, problem_ids=("luck", "sure", "old"))
    assert result.newly_solved.problem_ids == ("luck", "sure")
    assert result.newly_solved.certain_ids == ("sure",)


def test_chance_alone_is_called_a_crossing_at_most_once_in_twenty() -> None:
    rng = np.random.default_rng(9)
    rates = rng.beta(0.02, 2.0, 80)  # many that are solved once in a hundred samples
    num_false, num_repeats = 0, 400
    for _ in range(num_repeats):
        base, final = (rng.binomial(64, rates) for _ in range(2))
        ids = tuple(map(str, range(80)))
        result = find_transitions(base, final, num_samples=64, problem_ids=ids)
        num_false += result.newly_solved.p_value <= 0.05
    assert num_false / num_repeats <= 0.05 + 2 * (0.05 * 0.95 / num_repeats) ** 0.5


def test_nothing_solved_by_anyone() -> None:
    zeros = np.zeros(4, dtype=np.int64)
    result = find_transitions(zeros, zeros, num_samples=16, problem_ids=tuple("abcd"))
    assert result.newly_solved.problem_ids == ()
    assert (result.newly_solved.p_value, result.net_p_value) == (1.0, 1.0)
