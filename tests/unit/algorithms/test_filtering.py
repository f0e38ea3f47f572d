"""The group filter: whole groups, by id, by max - min."""

import pytest
import torch

from prorl_nemo.algorithms.filtering import select_informative_groups


def select(rewards, group_ids=None, tolerance=1e-6):
    rewards = torch.as_tensor(rewards)
    if group_ids is None:
        group_ids = [0] * len(rewards)
    selected = select_informative_groups(
        rewards, group_ids=torch.tensor(group_ids), tolerance=tolerance
    )
    return selected.tolist()


def test_a_group_with_one_success_is_kept_whole():
    assert select([1.0, 0, 0, 0, 0, 0, 0, 0]) == [True] * 8


def test_equal_continuous_rewards_are_dropped():
    # Their float32 variance computed as E[x^2] - E[x]^2 is not zero; their range is.
    assert select([0.3] * 8) == [False] * 8


def test_interleaved_groups_are_judged_apart():
    # Group 9: 1 and 0. Group -1: 0 and 0. Group 4: alone.
    assert select([1.0, 0.0, 0.0, 0.0, 1.0], [9, -1, 9, -1, 4]) == [True, False, True, False, False]


@pytest.mark.parametrize(("difference", "kept"), [(0.0, False), (0.25, False), (0.5, True)])
def test_the_range_must_exceed_the_tolerance(difference, kept):
    assert select([0.25, 0.25 + difference], tolerance=0.25) == [kept, kept]


def test_permuted_batches_select_the_same_responses():
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randint(0, 2, (40,), generator=generator).float()
    group_ids = torch.randint(0, 15, (40,), generator=generator)
    order = torch.randperm(40, generator=generator)
    straight = select_informative_groups(rewards, group_ids=group_ids, tolerance=0.0)
    permuted = select_informative_groups(rewards[order], group_ids=group_ids[order], tolerance=0.0)
    assert straight.any()
    assert not straight.all()
    assert torch.equal(straight[order], permuted)


def test_an_empty_batch_selects_nothing():
    assert select(torch.zeros(0)) == []


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_reward_that_is_not_finite_is_named(bad):
    with pytest.raises(ValueError, match="reward 1 of the batch is not finite"):
        select([0.0, bad])


def test_bad_tolerance_and_shapes_are_refused():
    for tolerance in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="tolerance"):
            select([0.0, 1.0], tolerance=tolerance)
    with pytest.raises(ValueError, match="equally long"):
        select([0.0, 1.0], [0])
