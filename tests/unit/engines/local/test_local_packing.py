"""Packing by hand, its budget, and how little of it is padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from prorl_nemo.engines.local.forward import ResponseRows, make_micro_batches
from prorl_nemo.engines.local.packing import bin_width, fill_bins, pack
from prorl_nemo.types import RolloutBatch
from tests.support.rollouts import make_rollouts


def batch_of(
    prompt_lengths: Sequence[int], response_lengths: Sequence[Sequence[int]]
) -> RolloutBatch:
    """Groups of responses; token t of row r is 100 r + t."""
    rows = [
        (p, r) for p, group in zip(prompt_lengths, response_lengths, strict=True) for r in group
    ]
    longest = max(p + r for p, r in rows)
    made = make_rollouts(
        [[0.0] * len(group) for group in response_lengths], response_tokens=longest
    )
    prompts, responses = torch.tensor(rows).T
    ids = 100 * torch.arange(len(rows))[:, None] + torch.arange(2 + longest)
    return replace(made, input_ids=ids, prompt_lengths=prompts, input_lengths=prompts + responses)


def test_two_groups_in_one_row_by_hand() -> None:
    rollouts = batch_of([2, 1], [[1, 2], [1]])
    packed = pack(rollouts, [[0, 1, 2]])
    assert packed.input_ids.tolist() == [[0, 1, 2, 102, 103, 200, 201]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 2, 3, 0, 1]]
    assert packed.predictors.tolist() == [1, 1, 3, 5]
    assert packed.allowed[0].int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 0, 1, 0, 0, 0],
        [1, 1, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1, 1],
    ]


def test_a_prompt_is_repeated_where_its_group_is_cut() -> None:
    rollouts = batch_of([3, 3], [[2, 2, 2], [2]])
    bins = fill_bins(rollouts, torch.arange(4), max_tokens=7)
    assert bins == [[0, 1], [2], [3]]
    assert [bin_width(rollouts, rows) for rows in bins] == [7, 5, 5]
    packed = pack(rollouts, bins)
    assert packed.input_ids.shape == (3, 7)
    assert packed.input_ids[1].tolist() == [200, 201, 202, 203, 204, 0, 0]
    assert not packed.allowed[1, :5, 5:].any()
    assert packed.allowed.any(dim=-1).all()  # no row of the softmax is empty


def test_bins_are_evenly_full() -> None:
    rollouts = batch_of([4] * 6, [[3] * 4] * 6)  # 6 groups of 16 slots
    widths = [bin_width(rollouts, b) for b in fill_bins(rollouts, torch.arange(24), max_tokens=64)]
    assert widths == [48, 48]


@pytest.mark.parametrize("max_tokens", [1, 40, 300, 100_000])
@pytest.mark.parametrize("longest", [16, 400])
def test_micro_batches_hold_every_row_once_within_the_budget(max_tokens: int, longest: int) -> None:
    rollouts, rows = campaign_like(longest), torch.arange(3, 200)
    parts = make_micro_batches(rollouts, rows, max_tokens=max_tokens)
    assert sorted(torch.cat([part.rows for part in parts]).tolist()) == rows.tolist()
    for part in parts:
        assert [row for rows in part.bins for row in rows] == part.rows.tolist()
        assert slots_of(rollouts, part) <= max_tokens or len(part.rows) == 1


@pytest.mark.parametrize("longest", [16, 60, 400, 2000])
def test_less_than_a_tenth_is_padding(longest: int) -> None:
    """Lengths from 1 to the limit, as a model has them; the old way padded to the longest."""
    rollouts = campaign_like(longest)
    parts = make_micro_batches(rollouts, torch.arange(len(rollouts)), max_tokens=32768)
    slots = sum(slots_of(rollouts, part) for part in parts)
    used = sum(bin_width(rollouts, rows) for part in parts for rows in part.bins)
    assert 1 - used / slots < 0.1
    unpacked = len(rollouts) * int(rollouts.input_lengths.max())
    assert used < unpacked / 2


def campaign_like(longest: int) -> RolloutBatch:
    """32 groups of 16: most responses end early, a few run into the limit."""
    generator = torch.Generator().manual_seed(longest)
    drawn = torch.empty(32, 16).exponential_(4 / longest, generator=generator)
    prompts = torch.randint(6, 15, (32,), generator=generator)
    return batch_of(prompts.tolist(), drawn.ceil().clamp(1, longest).int().tolist())


def slots_of(rollouts: RolloutBatch, part: ResponseRows) -> int:
    return len(part.bins) * max(bin_width(rollouts, rows) for rows in part.bins)
