"""Log-probabilities of given tokens from logits, in chunks.

A [B, S, V] logits tensor in bf16 is the largest thing in training; an fp32 copy of it, which
log_softmax would make and autograd would keep, is twice that. Here only ``chunk_size`` positions
at a time are in fp32, forward and backward; between the two, one number per position is kept.
Float64 logits are computed in float64.

Deliberately not here: making the logits, and vocab-parallel logits (linear_logprobs).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def gather_logprobs(
    logits: Tensor,  # [B, S, V], any float dtype
    tokens: Tensor,  # [B, S] int64
    *,
    chunk_size: int,  # positions (of S) held in fp32 at a time
    temperature: float = 1.0,
) -> Tensor:  # [B, S], fp32 (fp64 for fp64 logits)
    """log softmax(logits[b, t] / temperature)[tokens[b, t]]; position t with position t.

    Differentiable (once) with respect to ``logits``. Raises ValueError on shapes that don't fit,
    temperature <= 0 and chunk_size < 1.
    """
    return gather_logprobs_and_entropy(
        logits, tokens, chunk_size=chunk_size, temperature=temperature
    )[0]


def gather_logprobs_and_entropy(
    logits: Tensor,  # [B, S, V]
    tokens: Tensor,  # [B, S] int64
    *,
    chunk_size: int,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:  # [B, S] with gradient, [B, S] without
    """As gather_logprobs, and the entropy (nats) of each position's distribution, detached."""
    if logits.shape[:-1] != tokens.shape or logits.dim() != 3:
        raise ValueError(
            f"logits must be [B, S, V] and tokens [B, S], got {tuple(logits.shape)} and "
            f"{tuple(tokens.shape)}"
        )
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be >= 1, got {chunk_size}")
    outputs: tuple[Tensor, Tensor] = _GatherLogprobs.apply(  # type: ignore[no-untyped-call]
        logits, tokens, temperature, chunk_size
    )
    return outputs


def gather_next_token_logprobs(
    logits: Tensor,  # [B, S, V], as a causal model returns them
    input_ids: Tensor,  # [B, S] int64
    *,
    chunk_size: int,
    temperature: float = 1.0,
) -> Tensor:  # [B, S]
    """The project's layout: position t holds log p(input_ids[t] | input_ids[:t]), column 0 is 0.

    The logits that predict token t stand at t - 1; shifting the tokens instead of slicing the
    logits avoids a copy of them.
    """
    logprobs = gather_logprobs(
        logits, input_ids.roll(-1, dims=1), chunk_size=chunk_size, temperature=temperature
    )
    return torch.cat([torch.zeros_like(logprobs[:, :1]), logprobs[:, :-1]], dim=1)


class _GatherLogprobs(torch.autograd.Function):
    """Saves the logits as they came and one logsumexp per position; softmax is redone backward."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, tokens: Tensor, temperature: float, chunk_size: int
    ) -> tuple[Tensor, Tensor]:
        dtype = torch.promote_types(logits.dtype, torch.float32)
        logprobs = torch.empty(tokens.shape, dtype=dtype, device=logits.device)
        entropy = torch.empty_like(logprobs)
        normalizer = torch.empty_like(logprobs)
        for chunk in _chunks(tokens.shape[1], chunk_size):
            scaled = logits[:, chunk].to(dtype) / temperature
            normalizer[:, chunk] = scaled.logsumexp(dim=-1)
            chosen = scaled.gather(-1, tokens[:, chunk, None]).squeeze(-1)
            logprobs[:, chunk] = chosen - normalizer[:, chunk]
            scaled -= normalizer[:, chunk, None]
            # An excluded token (-inf) has probability 0 and adds 0, not 0 * -inf.
            finite = scaled.clamp(min=torch.finfo(dtype).min)
            entropy[:, chunk] = -(scaled.exp_() * finite).sum(dim=-1)
        ctx.save_for_backward(logits, tokens, normalizer)
        ctx.temperature, ctx.chunk_size = temperature, chunk_size
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_logprobs: Tensor, _grad_entropy: Tensor
    ) -> tuple[Tensor, None, None, None]:
        """d logprob / d logits = (one-hot - softmax) / temperature."""
        logits, tokens, normalizer = ctx.saved_tensors
        grad_logits = torch.empty_like(logits)
        for chunk in _chunks(tokens.shape[1], ctx.chunk_size):
            scaled = logits[:, chunk].to(normalizer.dtype) / ctx.temperature
            grad = (scaled - normalizer[:, chunk, None]).exp_()
            grad_chosen = grad_logprobs[:, chunk, None]
            grad *= -grad_chosen
            grad.scatter_add_(-1, tokens[:, chunk, None], grad_chosen)
            grad_logits[:, chunk] = grad / ctx.temperature
        return grad_logits, None, None, None


def _chunks(length: int, chunk_size: int) -> Iterator[slice]:
    for start in range(0, length, chunk_size):
        yield slice(start, min(start + chunk_size, length))
