"""Which tokens and which samples the loss sees.

token_mask [B, S] says "this token was sampled by the policy"; sample_mask [B] says "this
response counts". Position t describes token t, so column 0, which nothing predicted, is False.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

INTEGER_OF_BYTES = {2: torch.int16, 4: torch.int32, 8: torch.int64}


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


class TokenSelector:
    """torch.where(mask, values, 0) for many tensors of one dtype, NaN under the mask included.

    The mask becomes words of all ones or all zeros once; selecting is then one ``and`` of bits,
    which a CPU does on whole vectors; its torch.where branches at every element.
    """

    def __init__(
        self,
        mask: Tensor,  # [B, S]
        *,
        dtype: torch.dtype,  # floating; values of another are converted to it
    ) -> None:
        self.dtype = dtype
        self._bits = mask.bool().to(INTEGER_OF_BYTES[dtype.itemsize]).neg_()

    def __call__(self, values: Tensor) -> Tensor:  # [B, S], expanded or not -> [B, S]
        """Differentiable in ``values``; what is masked gets gradient 0, whatever comes back."""
        values = values.to(self.dtype)
        if not values.requires_grad:
            return (values.view(self._bits.dtype) & self._bits).view(self.dtype)
        selected: Tensor = _Select.apply(values, self._bits)  # type: ignore[no-untyped-call]
        return selected

    def fill(self, value: float) -> Tensor:
        """0 where the mask holds, ``value`` elsewhere."""
        word = torch.full((), value, dtype=self.dtype, device=self._bits.device)
        return (~self._bits & word.view(self._bits.dtype)).view(self.dtype)


class _Select(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, bits: Tensor) -> Tensor:
        ctx.save_for_backward(bits)
        return (values.view(bits.dtype) & bits).view(values.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (bits,) = ctx.saved_tensors
        return (grad.view(bits.dtype) & bits).view(grad.dtype), None
