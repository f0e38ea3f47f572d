"""Masks from lengths."""

import torch

from prorl_nemo.algorithms.masking import combine_masks, filter_overlong_samples, make_token_mask


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
