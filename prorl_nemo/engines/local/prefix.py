"""Prompts computed once and shared by the samples that follow them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel


def left_pad(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids padded on the left with 0, and where the tokens are; [G, P] int64 and bool."""
    width = max(len(prompt) for prompt in prompts)
    input_ids = torch.zeros(len(prompts), width, dtype=torch.int64)
    is_token = torch.zeros(len(prompts), width, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        start = width - len(prompt)
        input_ids[row, start:] = torch.as_tensor(prompt)
        is_token[row, start:] = True
    return input_ids.to(device), is_token.to(device)


def prefill(
    model: PreTrainedModel, input_ids: Tensor, is_token: Tensor, cache: DynamicCache
) -> Tensor:
    """Fill ``cache`` with left-padded prompts; logits of the first response token, [G, V]."""
    width = input_ids.shape[1]
    causal = torch.ones(width, width, dtype=torch.bool, device=input_ids.device).tril()
    output = model(
        input_ids=input_ids,
        attention_mask=additive_mask(causal & is_token[:, None, :], model.dtype),
        position_ids=(is_token.cumsum(dim=-1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    logits: Tensor = output.logits[:, -1]
    return logits


def additive_mask(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """[rows, queries, keys] bool -> [rows, 1, queries, keys], 0 or a large negative number."""
    blocked = ~allowed[:, None]
    return torch.zeros_like(blocked, dtype=dtype).masked_fill(blocked, torch.finfo(dtype).min)
