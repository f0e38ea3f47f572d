"""Length and termination penalties by hand, alone and combined."""

import math

import pytest
import torch

from prorl_nemo.algorithms.reward_shaping import (
    apply_overlong_penalty,
    apply_stop_properly_penalty,
    cosine_length_bonus,
    is_length_reward_active,
)

OVERLONG = {"max_response_length": 100, "buffer_length": 20, "penalty": 0.5}


def test_overlong_penalty_by_hand():
    # Free up to 80; then 0.5 / 20 per token: 81 costs 0.025, 90 0.25, 100 and beyond 0.5.
    lengths = torch.tensor([1, 80, 81, 90, 100, 150])
    rewards = apply_overlong_penalty(torch.ones(6), response_lengths=lengths, **OVERLONG)
    torch.testing.assert_close(rewards, torch.tensor([1, 1, 0.975, 0.75, 0.5, 0.5]))


def test_stop_properly_scales_and_subtracts():
    rewards = torch.tensor([1.0, 1.0, 0.0, 0.0])
    truncated = torch.tensor([True, False, True, False])
    scaled = apply_stop_properly_penalty(rewards, truncated=truncated, scale=0.25)
    assert scaled.tolist() == [0.25, 1.0, 0.0, 0.0]
    penalised = apply_stop_properly_penalty(rewards, truncated=truncated, scale=0.5, penalty=0.25)
    assert penalised.tolist() == [0.25, 1.0, -0.25, 0.0]
    assert rewards.tolist() == [1.0, 1.0, 0.0, 0.0]


def test_penalties_combine():
    # Length 90, truncated: 0.5 * 1 for not stopping, then 0.25 for length.
    rewards = apply_stop_properly_penalty(
        torch.tensor([1.0]), truncated=torch.tensor([True]), scale=0.5
    )
    rewards = apply_overlong_penalty(rewards, response_lengths=torch.tensor([90]), **OVERLONG)
    assert rewards.item() == pytest.approx(0.25)


def test_cosine_bonus_by_hand():
    # cos 0 = 1 -> eta_max; cos pi/3 = 1/2 -> 0.2 + 0.8 * 3/4; cos pi/2 = 0 -> the middle;
    # cos pi = -1 -> eta_min, and no further beyond T.
    bonus = cosine_length_bonus(
        torch.tensor([0, 20, 30, 60, 90]), max_response_length=60, eta_min=0.2, eta_max=1.0
    )
    torch.testing.assert_close(bonus, torch.tensor([1.0, 0.8, 0.6, 0.2, 0.2]))


def test_cosine_bonus_falls_with_length():
    bonus = cosine_length_bonus(
        torch.arange(101), max_response_length=100, eta_min=-1.0, eta_max=0.0
    )
    assert (bonus.diff() < 0).all()


def test_length_reward_is_on_for_the_first_steps_of_each_period():
    active = [
        s for s in range(1300) if is_length_reward_active(s, period_steps=600, active_steps=100)
    ]
    assert active == [*range(100), *range(600, 700), *range(1200, 1300)]


def test_length_reward_may_be_always_or_never_on():
    assert not is_length_reward_active(0, period_steps=5, active_steps=0)
    assert is_length_reward_active(4, period_steps=5, active_steps=5)


@pytest.mark.parametrize(
    "changes",
    [{"penalty": -1.0}, {"penalty": math.nan}, {"buffer_length": 0}, {"buffer_length": 101}],
)
def test_bad_overlong_settings_are_refused(changes):
    with pytest.raises(ValueError, match="overlong"):
        apply_overlong_penalty(
            torch.ones(1), response_lengths=torch.tensor([1]), **OVERLONG | changes
        )


@pytest.mark.parametrize(
    "changes", [{"scale": 1.5}, {"scale": -0.1}, {"scale": 1.0, "penalty": -1.0}]
)
def test_bad_stop_properly_settings_are_refused(changes):
    with pytest.raises(ValueError, match="stop-properly"):
        apply_stop_properly_penalty(torch.ones(1), truncated=torch.tensor([True]), **changes)


def test_bad_cosine_and_schedule_settings_are_refused():
    lengths = torch.tensor([1])
    with pytest.raises(ValueError, match="eta_min"):
        cosine_length_bonus(lengths, max_response_length=10, eta_min=1.0, eta_max=0.0)
    with pytest.raises(ValueError, match="max_response_length"):
        cosine_length_bonus(lengths, max_response_length=0, eta_min=0.0, eta_max=1.0)
    for period, active in ((0, 0), (5, 6), (5, -1)):
        with pytest.raises(ValueError, match="active_steps"):
            is_length_reward_active(0, period_steps=period, active_steps=active)
