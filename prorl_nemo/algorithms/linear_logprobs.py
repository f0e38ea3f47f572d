"""Log-probabilities of given tokens from hidden states, without the logits.

The logits [T, V] of a long sequence are larger than everything else in training. Here the
output layer is multiplied ``chunk_size`` vocabulary entries at a time, forward and, once more,
backward: what exists at any time is [T, chunk_size], and what is kept between the two is one
number per position. Splitting the vocabulary and not the positions writes each row of the
weight's gradient once, from one product, so that it needs no buffer of higher precision.

With tensor parallelism each rank holds V / TP rows of the weight: pass ``VocabShard``, whose two
callables sum and take the maximum over the ranks. No function here knows a process group.

Deliberately not here: gradients of the entropy, and making hidden states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class VocabShard:
    """This rank's rows of the weight, and reductions over the ranks that hold the others.

    Each callable returns the reduced tensor, the same on all ranks, without gradient, and leaves
    its argument as it is.
    """

    first_token: int  # id of the first row
    all_reduce_sum: Callable[[Tensor], Tensor]
    all_reduce_max: Callable[[Tensor], Tensor]


WHOLE_VOCABULARY = VocabShard(0, lambda values: values, lambda values: values)


@dataclass(frozen=True)
class _OutputLayer:
    """hidden @ weight.T + bias over temperature, a slice of the vocabulary at a time."""

    hidden: Tensor  # [T, H]
    weight: Tensor  # [V, H]
    bias: Tensor | None  # [V]
    tokens: Tensor  # [T] int64, as rows of ``weight``; outside [0, V) on another rank
    temperature: float
    chunk_size: int

    @property
    def dtype(self) -> torch.dtype:
        return torch.promote_types(self.hidden.dtype, torch.float32)

    def chunks(self) -> Iterator[slice]:
        vocabulary = len(self.weight)
        for start in range(0, vocabulary, self.chunk_size):
            yield slice(start, min(start + self.chunk_size, vocabulary))

    def logits(self, chunk: slice) -> Tensor:  # [T, C], fp32 at least
        logits = (self.hidden @ self.weight[chunk].T).to(self.dtype)
        if self.bias is not None:
            logits += self.bias[chunk]
        return logits if self.temperature == 1 else logits.div_(self.temperature)

    def find_tokens(self, chunk: slice) -> tuple[Tensor, Tensor]:
        """Column of each position's token, [T, 1], and whether it is in this chunk at all."""
        columns = self.tokens - chunk.start
        is_here = (columns >= 0) & (columns < chunk.stop - chunk.start)
        return torch.where(is_here, columns, 0)[:, None], is_here


def compute_linear_logprobs(
    hidden: Tensor,  # [..., H], any float dtype
    weight: Tensor,  # [V, H], dtype of hidden; this rank's rows of it
    tokens: Tensor,  # [...] int64, ids in the whole vocabulary
    *,
    chunk_size: int,  # vocabulary entries whose logits exist at a time
    bias: Tensor | None = None,  # [V]
    mask: Tensor | None = None,  # [...], True: compute; the others get 0, whatever they hold
    temperature: float = 1.0,
    shard: VocabShard = WHOLE_VOCABULARY,
) -> Tensor:  # [...], fp32 (fp64 for fp64 input)
    """log softmax((hidden @ weight.T + bias) / temperature)[token], position by position.

    Differentiable (once) in ``hidden``, ``weight`` and ``bias``. Sharded, the gradient of
    ``hidden`` is summed over the ranks, so it is the whole one on each. A bf16 product is rounded
    to bf16, as the model's own output layer rounds it; every sum over chunks is fp32. A token
    that no rank holds has log-prob NaN. Raises ValueError on shapes and dtypes that don't fit,
    temperature <= 0 and chunk_size < 1.
    """
    _check(hidden, weight, tokens, chunk_size=chunk_size, temperature=temperature)
    rows, is_used = _flatten(hidden, mask)
    logprobs: Tensor = _LinearLogprobs.apply(  # type: ignore[no-untyped-call]
        rows, weight, bias, tokens.flatten(), temperature, chunk_size, shard
    )
    if is_used is not None:
        logprobs = torch.where(is_used, logprobs, 0.0)
    return logprobs.view(tokens.shape)


@torch.no_grad()
def compute_linear_logprobs_and_entropy(
    hidden: Tensor,  # [..., H]
    weight: Tensor,  # [V, H]
    tokens: Tensor,  # [...] int64
    *,
    chunk_size: int,
    bias: Tensor | None = None,  # [V]
    mask: Tensor | None = None,  # [...]
    temperature: float = 1.0,
    shard: VocabShard = WHOLE_VOCABULARY,
) -> tuple[Tensor, Tensor]:  # [...], [...], both detached
    """As compute_linear_logprobs, and the entropy (nats) of each position's distribution."""
    _check(hidden, weight, tokens, chunk_size=chunk_size, temperature=temperature)
    rows, is_used = _flatten(hidden, mask)
    ids = tokens.flatten() - shard.first_token
    layer = _OutputLayer(rows, weight, bias, ids, temperature, chunk_size)
    chosen, normalizer = _choose_and_normalize(layer, shard)
    mean_logit = torch.zeros_like(normalizer)
    for chunk in layer.chunks():
        logits = layer.logits(chunk)
        probabilities = (logits - normalizer[:, None]).exp_()
        # An excluded token (-inf) has probability 0 and adds 0, not 0 * -inf.
        finite = logits.clamp_(min=torch.finfo(logits.dtype).min)
        mean_logit += probabilities.mul_(finite).sum(dim=-1)
    entropy = normalizer - shard.all_reduce_sum(mean_logit)
    logprobs = chosen - normalizer
    if is_used is not None:
        logprobs, entropy = (torch.where(is_used, x, 0.0) for x in (logprobs, entropy))
    return logprobs.view(tokens.shape), entropy.view(tokens.shape)


class _LinearLogprobs(torch.autograd.Function):
    """Keeps the layer's inputs and one logsumexp per position; the logits are redone backward."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,  # [T, H]
        weight: Tensor,
        bias: Tensor | None,
        tokens: Tensor,  # [T]
        temperature: float,
        chunk_size: int,
        shard: VocabShard,
    ) -> Tensor:  # [T]
        ids = tokens - shard.first_token
        layer = _OutputLayer(hidden, weight, bias, ids, temperature, chunk_size)
        chosen, normalizer = _choose_and_normalize(layer, shard)
        ctx.save_for_backward(hidden, weight, bias, ids, normalizer)
        ctx.temperature, ctx.chunk_size, ctx.shard = temperature, chunk_size, shard
        return chosen - normalizer

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_logprobs: Tensor) -> tuple[Tensor | None, ...]:
        """d logprob / d logit = (one-hot - softmax) / temperature; both products of it per chunk.

        grad_logprobs scales rows, so it is kept out of the large [T, C] and goes to [T, H].
        """
        hidden, weight, bias, ids, normalizer = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        layer = _OutputLayer(hidden, weight, bias, ids, ctx.temperature, ctx.chunk_size)
        scale = (grad_logprobs.to(layer.dtype) / ctx.temperature)[:, None]  # [T, 1]
        scaled_hidden = (hidden * scale).to(weight.dtype) if wants_weight else None
        grad_hidden = torch.zeros_like(hidden, dtype=layer.dtype) if wants_hidden else None
        grad_weight = torch.empty_like(weight) if wants_weight else None
        grad_bias = torch.empty_like(bias) if wants_bias else None
        for chunk in layer.chunks():
            grad = layer.logits(chunk).sub_(normalizer[:, None]).exp_().neg_()
            columns, is_here = layer.find_tokens(chunk)
            grad.scatter_add_(1, columns, is_here[:, None].to(grad.dtype))
            if grad_bias is not None:
                grad_bias[chunk] = scale.squeeze(1) @ grad
            narrow = grad.to(weight.dtype)
            if grad_hidden is not None:
                _add_product(grad_hidden, narrow, weight[chunk])
            if grad_weight is not None and scaled_hidden is not None:
                torch.mm(narrow.T, scaled_hidden, out=grad_weight[chunk])
        if grad_hidden is not None:
            grad_hidden = (ctx.shard.all_reduce_sum(grad_hidden) * scale).to(hidden.dtype)
        return grad_hidden, grad_weight, grad_bias, None, None, None, None


def _choose_and_normalize(layer: _OutputLayer, shard: VocabShard) -> tuple[Tensor, Tensor]:
    """Each position's logit of its token, and its logsumexp over the whole vocabulary; [T]."""
    chosen = torch.zeros(layer.tokens.shape, dtype=layer.dtype, device=layer.hidden.device)
    is_found = torch.zeros_like(chosen)
    # The lowest number and not -inf: a chunk of excluded tokens only must not give inf - inf.
    normalizer = torch.full_like(chosen, torch.finfo(layer.dtype).min)
    for chunk in layer.chunks():
        logits = layer.logits(chunk)
        columns, is_here = layer.find_tokens(chunk)
        chosen = torch.where(is_here, logits.gather(1, columns).squeeze(1), chosen)
        is_found += is_here
        highest = logits.amax(dim=-1, keepdim=True).clamp(min=torch.finfo(layer.dtype).min)
        total = logits.sub_(highest).exp_().sum(dim=-1)
        normalizer = torch.logaddexp(normalizer, highest.squeeze(1) + total.log())
    highest = shard.all_reduce_max(normalizer)
    total = shard.all_reduce_sum((normalizer - highest).exp())
    chosen, is_found = shard.all_reduce_sum(torch.stack([chosen, is_found]))
    return torch.where(is_found > 0, chosen, torch.nan), highest + total.log()


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right; a product of a lower precision is added in that of ``total``."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


def _flatten(hidden: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Positions in one row, [T, H]; masked ones are 0 so that NaN there meets no product."""
    rows = hidden.reshape(-1, hidden.shape[-1])
    if mask is None:
        return rows, None
    is_used = mask.flatten().bool()
    return torch.where(is_used[:, None], rows, 0.0), is_used


def _check(
    hidden: Tensor, weight: Tensor, tokens: Tensor, *, chunk_size: int, temperature: float
) -> None:
    if hidden.shape[:-1] != tokens.shape or weight.dim() != 2:
        raise ValueError(
            f"hidden must be [..., H] and tokens [...], got {tuple(hidden.shape)} and "
            f"{tuple(tokens.shape)}; weight must be [V, H], got {tuple(weight.shape)}"
        )
    if hidden.shape[-1] != weight.shape[-1] or hidden.dtype != weight.dtype:
        raise ValueError(
            f"hidden {tuple(hidden.shape)} {hidden.dtype} does not fit "
            f"weight {tuple(weight.shape)} {weight.dtype}"
        )
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be >= 1, got {chunk_size}")
