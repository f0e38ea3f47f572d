"""Entropy of the policy: how much exploration is left.

A metric, not a loss term: ProRL keeps entropy up by its clip and KL, not by a bonus.
"""

from __future__ import annotations

import torch
from torch import Tensor


def compute_entropy(
    logits: Tensor,  # [..., V]
    *,
    temperature: float = 1.0,
) -> Tensor:  # [...]
    """H = -sum_v p_v log p_v of softmax(logits / temperature), in nats.

    In fp32 at least, and with gradient; gather_logprobs_and_entropy is the lean way over a
    training batch. A logit of -inf has probability 0 and adds 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    scaled = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
    logprobs = scaled.log_softmax(dim=-1)
    finite = torch.where(torch.isneginf(logprobs), 0.0, logprobs)  # 1 * 0 for an excluded token
    return -(finite.exp() * finite).sum(dim=-1)


def estimate_entropy(
    logprobs: Tensor,  # [B, S] under the policy, of sampled tokens
    *,
    sampling_logprobs: Tensor,  # [B, S] under the sampler
) -> Tensor:  # [B, S]
    """-(pi / pi_sampler) log pi per token: its mean estimates H without logits. Detached."""
    logprobs, sampling_logprobs = logprobs.detach(), sampling_logprobs.detach()
    return -(logprobs - sampling_logprobs).exp() * logprobs


def masked_mean(
    values: Tensor,  # any shape
    *,
    mask: Tensor,  # same shape
) -> Tensor:  # []
    """Mean where ``mask`` holds; 0 when nowhere. What is masked may be NaN."""
    mask = mask.bool()
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)
