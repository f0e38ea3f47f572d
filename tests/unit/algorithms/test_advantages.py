"""Advantages against numbers worked by hand, and the invariants of group baselines."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prorl_nemo.algorithms.advantages import (
    compute_grpo_advantages,
    compute_leave_one_out_advantages,
    compute_reinforce_plus_plus_baseline_advantages,
)

ONE_GROUP = torch.tensor([5, 5, 5, 5])


def test_grpo_divides_by_the_sample_standard_deviation():
    # mean 1/4; deviations 3/4, -1/4 x 3; squares 9/16 + 3/16 = 3/4; / (4 - 1) = 1/4; std 1/2.
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    advantages = compute_grpo_advantages(rewards, group_ids=ONE_GROUP, epsilon=1e-12)
    torch.testing.assert_close(advantages, torch.tensor([1.5, -0.5, -0.5, -0.5]).double())


def test_grpo_adds_epsilon_to_the_standard_deviation():
    # std 1/2 plus epsilon 1/2 divides by 1: the plain differences remain.
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0])
    advantages = compute_grpo_advantages(rewards, group_ids=ONE_GROUP, epsilon=0.5)
    torch.testing.assert_close(advantages, torch.tensor([0.75, -0.25, -0.25, -0.25]))


def test_grpo_without_std_is_the_difference_from_the_mean():
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0])
    advantages = compute_grpo_advantages(rewards, group_ids=ONE_GROUP, normalize_std=False)
    assert advantages.tolist() == [0.75, -0.25, -0.25, -0.25]


def test_leave_one_out_compares_with_the_siblings():
    # The success: 1 - mean(0, 0, 0) = 1. A failure: 0 - mean(1, 0, 0) = -1/3.
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0])
    advantages = compute_leave_one_out_advantages(rewards, group_ids=ONE_GROUP)
    torch.testing.assert_close(advantages, torch.tensor([1.0, -1 / 3, -1 / 3, -1 / 3]))


def test_leave_one_out_divides_by_the_siblings_standard_deviation():
    # A success sees 0, 0, 1: mean 1/3, squares 1/9 + 1/9 + 4/9 = 2/3, / 2 = 1/3.
    # A failure sees 1, 0, 1: mean 2/3 and the same variance. So +-(2/3) / sqrt(1/3) = 1.154701.
    rewards = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    advantages = compute_leave_one_out_advantages(
        rewards, group_ids=ONE_GROUP, normalize_std=True, epsilon=1e-12
    )
    expected = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64) * 1.1547005383792515
    torch.testing.assert_close(advantages, expected)


@pytest.mark.parametrize("size", [3, 7, 8, 31])
@pytest.mark.parametrize("failure", [0.0, 0.3, 1 / 7])
def test_leave_one_out_keeps_the_only_success_unsharpened(size, failure):
    # The success's siblings are all equal, whatever rounding says: no std to divide by.
    rewards = torch.full((size,), failure)
    rewards[0] = 1.0
    advantages = compute_leave_one_out_advantages(
        rewards, group_ids=torch.zeros(size, dtype=torch.long), normalize_std=True
    )
    torch.testing.assert_close(advantages[0], torch.tensor(1 - failure))


def test_leave_one_out_of_two_has_no_std():
    # One sibling has no standard deviation: the difference stays.
    advantages = compute_leave_one_out_advantages(
        torch.tensor([1.0, 0.0]), group_ids=torch.tensor([0, 0]), normalize_std=True
    )
    assert advantages.tolist() == [1.0, -1.0]


def test_reinforce_plus_plus_whitens_over_valid_tokens():
    # Baselines: group 0 mean 1/2 -> +-0.5; group 1 mean 1/2 -> 0, 0.
    # Valid tokens: 0.5, 0.5, -0.5, 0. Mean 1/8; deviations 3/8, 3/8, -5/8, -1/8;
    # squares (9 + 9 + 25 + 1) / 64 = 44/64; / 4 = 11/64; std = sqrt(11)/8.
    # Hence 3/sqrt(11), -5/sqrt(11), -1/sqrt(11).
    rewards = torch.tensor([1.0, 0.0, 0.5, 0.5], dtype=torch.float64)
    mask = torch.tensor([[0, 1, 1], [0, 1, 0], [0, 0, 1], [0, 0, 0]]).bool()
    advantages = compute_reinforce_plus_plus_baseline_advantages(
        rewards, group_ids=torch.tensor([0, 0, 1, 1]), token_mask=mask
    )
    root = 11**0.5
    expected = torch.tensor(
        [[0, 3 / root, 3 / root], [0, -5 / root, 0], [0, 0, -1 / root], [0, 0, 0]]
    ).double()
    torch.testing.assert_close(advantages, expected, rtol=1e-6, atol=1e-7)


def test_reinforce_plus_plus_of_equal_rewards_is_zero():
    advantages = compute_reinforce_plus_plus_baseline_advantages(
        torch.full((4,), 0.3), group_ids=torch.tensor([0, 0, 1, 1]), token_mask=torch.ones(4, 3)
    )
    assert not advantages.any()


def test_reinforce_plus_plus_without_a_valid_token_is_zero_not_nan():
    advantages = compute_reinforce_plus_plus_baseline_advantages(
        torch.tensor([1.0, 0.0]), group_ids=torch.tensor([0, 0]), token_mask=torch.zeros(2, 3)
    )
    assert not advantages.any()


ESTIMATORS = {
    "grpo": compute_grpo_advantages,
    "grpo_mean_only": lambda r, group_ids: compute_grpo_advantages(
        r, group_ids=group_ids, normalize_std=False
    ),
    "loo": compute_leave_one_out_advantages,
    "loo_std": lambda r, group_ids: compute_leave_one_out_advantages(
        r, group_ids=group_ids, normalize_std=True
    ),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_rewards_and_lone_responses_get_exactly_zero(name, dtype):
    # The mean of eight 0.3 in float32 is not 0.3: equality is judged by max - min.
    rewards = torch.tensor([0.3] * 8 + [0.7], dtype=dtype)
    group_ids = torch.tensor([4] * 8 + [1])
    advantages = ESTIMATORS[name](rewards, group_ids=group_ids)
    assert advantages.dtype == dtype
    assert advantages.tolist() == [0.0] * 9


@pytest.mark.parametrize("name", ESTIMATORS)
@given(seed=st.integers(0, 10_000))
def test_permuting_the_batch_permutes_the_advantages(name, seed):
    generator = torch.Generator().manual_seed(seed)
    group_ids = torch.randint(-3, 4, (24,), generator=generator)  # uneven, unsorted
    rewards = torch.randint(0, 4, (24,), generator=generator).double() / 3
    order = torch.randperm(24, generator=generator)
    straight = ESTIMATORS[name](rewards, group_ids=group_ids)
    permuted = ESTIMATORS[name](rewards[order], group_ids=group_ids[order])
    torch.testing.assert_close(straight[order], permuted)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_groups_do_not_see_each_other(name):
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.2, 0.9, 0.4])
    group_ids = torch.tensor([0, 1, 0, 1, 0, 1])
    together = ESTIMATORS[name](rewards, group_ids=group_ids)
    for group in (0, 1):
        alone = ESTIMATORS[name](rewards[group_ids == group], group_ids=torch.zeros(3).long())
        torch.testing.assert_close(together[group_ids == group], alone)
    spoilt = ESTIMATORS[name](torch.where(group_ids == 0, torch.nan, rewards), group_ids=group_ids)
    torch.testing.assert_close(spoilt[group_ids == 1], together[group_ids == 1])


def test_rewards_are_left_alone():
    rewards = torch.tensor([1.0, 0.0])
    compute_grpo_advantages(rewards, group_ids=torch.tensor([0, 0]))
    assert rewards.tolist() == [1.0, 0.0]


def test_empty_batch():
    empty = torch.zeros(0)
    assert compute_grpo_advantages(empty, group_ids=torch.zeros(0).long()).shape == (0,)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="equally long"):
        compute_grpo_advantages(torch.zeros(3), group_ids=torch.zeros(4).long())
    with pytest.raises(ValueError, match="token_mask"):
        compute_reinforce_plus_plus_baseline_advantages(
            torch.zeros(3), group_ids=torch.zeros(3).long(), token_mask=torch.ones(4, 2)
        )
