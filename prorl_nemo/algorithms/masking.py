"""Which tokens and which samples the loss sees.

token_mask [B, S] says "this token was sampled by the policy"; sample_mask [B] says "this
response counts". Position t describes token t, so column 0, which nothing predicted, is False.
"""

from __future__ import annotations

import torch
from torch import Tensor


def make_token_mask(
    input_lengths: Tensor,  # [B] tokens of prompt + response
    *,
    prompt_lengths: Tensor,  # [B] tokens of the prompt
    sequence_length: int,  # S, padding included
) -> Tensor:  # [B, S] bool
    """True at the response's tokens: max(prompt_length, 1) <= t < input_length."""
    positions = torch.arange(sequence_length, device=input_lengths.device)
    is_after_prompt = positions >= prompt_lengths.clamp(min=1)[:, None]
    return is_after_prompt & (positions < input_lengths[:, None])


def filter_overlong_samples(
    sample_mask: Tensor,  # [B]
    *,
    truncated: Tensor,  # [B] bool, cut off at the token limit
) -> Tensor:  # [B], dtype of sample_mask
    """Overlong filtering (DAPO, arXiv 2503.14476, section 3.4): truncated samples leave the loss.

    Their rewards still count in their group's baseline.
    """
    return sample_mask.masked_fill(truncated.bool(), 0)


def combine_masks(
    token_mask: Tensor,  # [B, S]
    *,
    sample_mask: Tensor,  # [B]
) -> Tensor:  # [B, S] bool
    """Tokens that count: sampled by the policy, in a sample that counts."""
    return token_mask.bool() & sample_mask.bool()[:, None]
