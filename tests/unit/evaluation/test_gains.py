"""Gain against the base: Fisher's interval, and no correlation out of noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prorl_nemo.evaluation.gains import Gain, correlate_gains, fisher_interval, make_gain
from prorl_nemo.evaluation.sample_files import SampleMeta
from prorl_nemo.evaluation.samples import SampleSet


def samples(rewards: np.ndarray, benchmark: str = "x") -> SampleSet:
    num_problems, num_samples = rewards.shape
    meta = SampleMeta(
        model="m", model_order=0, step=None, benchmark=benchmark, task="t", role="trained",
        sweep_value=None, sweep_group=None, num_problems=num_problems, num_samples=num_samples,
        temperature=1.0, top_p=1.0, max_new_tokens=8, seed=0,
    )  # fmt: skip
    ids = tuple(map(str, range(num_problems)))
    tokens = np.ones(rewards.shape, dtype=np.int64)
    return SampleSet(Path("x"), meta, ids, rewards, tokens, tokens == 0)


def gain(base: float, value: float) -> Gain:
    return Gain("b", base, value, value, value, 10)


def test_fishers_interval_worked_by_hand() -> None:
    # atanh(0.5) = 0.549306; 1.959964 / sqrt(12 - 3) = 0.653321; tanh(-0.104015), tanh(1.202627).
    low, high = fisher_interval(0.5, num_pairs=12)
    assert low == pytest.approx(-0.103642, abs=1e-5)
    assert high == pytest.approx(0.834454, abs=1e-5)
    with pytest.raises(ValueError, match="4 pairs or more"):
        fisher_interval(0.5, num_pairs=3)


def test_a_perfect_line_has_correlation_minus_one() -> None:
    result = correlate_gains([gain(x, 1 - x) for x in (0.1, 0.2, 0.5, 0.9)], k=1)
    assert result.pearson == pytest.approx(-1.0)
    assert result.spearman == pytest.approx(-1.0)


@pytest.mark.parametrize("bases", [(0.1, 0.5, 0.9), (0.3, 0.3, 0.3, 0.3)])
def test_too_few_or_all_alike_have_no_correlation(bases: tuple[float, ...]) -> None:
    assert correlate_gains([gain(x, 0.1 + x) for x in bases], k=1).pearson is None


def test_position_and_gain_come_from_different_halves() -> None:
    base = np.array([[1.0, 0.0, 1.0, 0.0]])  # even samples solve, odd ones don't
    final = np.array([[1.0, 1.0, 1.0, 0.0]])
    result = make_gain(samples(base), samples(final), k=1, threshold=1.0)
    assert result.base == 1.0
    assert result.gain == pytest.approx(0.75)


def test_noise_alone_makes_no_correlation_here_though_it_would() -> None:
    rng = np.random.default_rng(11)
    ours, naive = [], []
    for _ in range(60):
        bases, gains = [], []
        naive_x, naive_y = [], []
        for _ in range(12):  # benchmarks of one true difficulty and no change at all
            base, final = ((rng.random((20, 8)) < 0.5).astype(float) for _ in range(2))
            result = make_gain(samples(base), samples(final), k=1, threshold=1.0)
            bases.append(result.base)
            gains.append(result.gain)
            naive_x.append(base.mean())
            naive_y.append(final.mean() - base.mean())
        ours.append(np.corrcoef(bases, gains)[0, 1])
        naive.append(np.corrcoef(naive_x, naive_y)[0, 1])
    assert abs(np.mean(ours)) < 0.1
    assert np.mean(naive) < -0.5
