"""Masks from lengths."""

import math

import pytest
import torch

from prorl_nemo.algorithms.masking import (
    TokenSelector,
    combine_masks,
    filter_overlong_samples,
    make_token_mask,
)


def test_the_response_and_nothing_else():
    # Prompt of 2 in 4 tokens: tokens 2, 3. Prompt of 3 in 5: tokens 3, 4. No response: none.
    mask = make_token_mask(
        torch.tensor([4, 5, 2]), prompt_lengths=torch.tensor([2, 3, 2]), sequence_length=6
    )
    assert mask.int().tolist() == [[0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0]]
    assert mask.dtype == torch.bool


def test_column_zero_is_masked_even_without_a_prompt():
    mask = make_token_mask(torch.tensor([3]), prompt_lengths=torch.tensor([0]), sequence_length=3)
    assert mask.tolist() == [[False, True, True]]


def test_overlong_samples_leave_and_masked_ones_stay_out():
    truncated = torch.tensor([True, False, False])
    mask = filter_overlong_samples(torch.tensor([1.0, 1.0, 0.0]), truncated=truncated)
    assert mask.tolist() == [0.0, 1.0, 0.0]
    mask = filter_overlong_samples(torch.tensor([True, True, False]), truncated=truncated)
    assert mask.tolist() == [False, True, False]


def test_overlong_filtering_makes_a_new_mask():
    sample_mask = torch.ones(2)
    filter_overlong_samples(sample_mask, truncated=torch.tensor([True, True]))
    assert sample_mask.tolist() == [1.0, 1.0]


def test_combined_mask_needs_both():
    mask = combine_masks(torch.tensor([[0, 1], [0, 1]]), sample_mask=torch.tensor([1.0, 0.0]))
    assert mask.tolist() == [[False, True], [False, False]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_selecting_bits_equals_where(dtype):
    mask = torch.tensor([[True, False, True, False, True, False]])
    values = torch.tensor([[-1.5, math.nan, math.inf, math.inf, math.nan, -0.0]], dtype=dtype)
    select = TokenSelector(mask, dtype=dtype)
    expected = torch.where(mask, values, 0.0)
    assert torch.equal(select(values).nan_to_num(7.0), expected.nan_to_num(7.0))
    assert select(values).dtype == dtype
    assert select.fill(2.0).tolist() == [[0.0, 2.0, 0.0, 2.0, 0.0, 2.0]]
    assert torch.equal(select(torch.tensor([[3.0]]).expand(1, 6)), torch.where(mask, 3.0, 0.0))


def test_selecting_sends_gradient_back_to_what_was_selected():
    mask = torch.tensor([[True, False]])
    leaf = torch.tensor([[1.0, math.nan]], requires_grad=True)
    selected = TokenSelector(mask, dtype=torch.float32)(leaf)
    (grad,) = torch.autograd.grad(selected, leaf, torch.tensor([[2.0, math.nan]]))
    assert grad.tolist() == [[2.0, 0.0]]
