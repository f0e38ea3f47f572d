"""The policy loss of ProRL: clipped policy gradient plus KL to a reference.

    L = 1/N sum_{i,t} [ -w_it min(r_it A_it, clip(r_it, 1 - eps_low, 1 + eps_high) A_it)
                        + beta KL_it ]

(ProRL, arXiv 2505.24864, eq. 1-3; decoupled clip and token-level mean: DAPO, arXiv 2503.14476,
eq. 10; dual clip: arXiv 1912.09729, eq. 5). N counts all valid tokens (or sequences) of the GLOBAL
batch, so that losses, gradients and metrics of microbatches and ranks simply add up.

Masks select (masking.TokenSelector) on the way in: padding may hold anything, NaN included, without
touching value or gradient. A bad number at a valid token is not hidden. No function here reads a
number back from the device. Where autograd would pass over memory once more per operation, the
slope is written out beside the value.

Deliberately not here: how log-probs, advantages and importance weights are made, and any
choice by name; choices arrive as functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from prorl_nemo.algorithms.kl import KLEstimator, compute_kl_importance_weights
from prorl_nemo.algorithms.masking import TokenSelector, combine_masks

# (mask [B, S] bool, dtype) -> weights of the valid tokens [B, 1] in the sum over the batch
WeighTokens = Callable[[Tensor, torch.dtype], Tensor]
# (curr_logprobs [B, S], prev_logprobs [B, S], mask [B, S] bool) -> ratios [B, S]
ComputeRatios = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class PolicyLoss:
    """A microbatch's share of the global loss, and what to log about it.

    Only ``loss`` carries a gradient. All but the last two are shares of a global mean, with the
    weights of the loss itself: SUM them over microbatches and ranks. ``ratio_min`` and
    ``ratio_max`` are extremes over valid tokens: take min and max (+inf, -inf for none).
    """

    loss: Tensor  # [] policy_loss + kl_penalty * kl
    policy_loss: Tensor  # []
    kl: Tensor  # [] nats per token, before the penalty coefficient; 0 without a reference
    clip_fraction_low: Tensor  # [] A < 0 and ratio < 1 - ratio_clip_min: no gradient left
    clip_fraction_high: Tensor  # [] A > 0 and ratio > 1 + ratio_clip_max: no gradient left
    ratio_mean: Tensor  # []
    ratio_min: Tensor  # []
    ratio_max: Tensor  # []


def compute_token_ratios(curr_logprobs: Tensor, prev_logprobs: Tensor, mask: Tensor) -> Tensor:
    """r_t = pi(t) / pi_prev(t)   [B, S] (PPO, GRPO, DAPO, ProRL)."""
    return (curr_logprobs - prev_logprobs).exp()


def compute_sequence_ratios(curr_logprobs: Tensor, prev_logprobs: Tensor, mask: Tensor) -> Tensor:
    """Geometric mean of r_t over the sequence, at each of its tokens (GSPO, 2507.18071, eq. 7)."""
    total = torch.where(mask, curr_logprobs - prev_logprobs, 0.0).sum(dim=-1, keepdim=True)
    mean = total / mask.sum(dim=-1, keepdim=True).clamp(min=1)
    return mean.exp().expand(curr_logprobs.shape)


def prorl_loss(
    *,
    curr_logprobs: Tensor,  # [B, S], the only input that gets a gradient
    prev_logprobs: Tensor,  # [B, S], before the first update on this batch
    reference_policy_logprobs: Tensor | None,  # [B, S]
    advantages: Tensor,  # [B] or [B, S]
    token_mask: Tensor,  # [B, S]
    sample_mask: Tensor,  # [B]
    importance_weights: Tensor | None,  # [B, S], None for 1
    ratio_clip_min: float,
    ratio_clip_max: float,
    ratio_clip_c: float | None,
    kl_penalty: float,
    kl_estimator: KLEstimator,
    kl_sampling_logprobs: Tensor | None,  # [B, S], kl.compute_kl_importance_weights; None: 1
    weigh: WeighTokens,
    global_count: Tensor | float,  # > 0, what ``weigh`` is to be divided by
    compute_ratios: ComputeRatios = compute_token_ratios,
) -> PolicyLoss:
    """The loss both engines minimise; the module docstring has the equation.

    With kl_penalty 0 the KL is only measured. ValueError: no reference for it, bad bounds.
    """
    if kl_penalty != 0 and reference_policy_logprobs is None:
        raise ValueError(f"kl_penalty is {kl_penalty} but there are no reference_policy_logprobs")
    mask = combine_masks(token_mask, sample_mask=sample_mask)
    select = TokenSelector(mask, dtype=curr_logprobs.dtype)
    weights = select(weigh(mask, curr_logprobs.dtype).expand_as(mask)).flatten()
    share = partial(_share_of_mean, weights=weights, global_count=global_count)
    curr = select(curr_logprobs)
    advantages = select(_per_token(advantages).detach().expand_as(mask))
    ratios = compute_ratios(curr, select(prev_logprobs.detach()), mask)
    policy_values = compute_clipped_policy_loss(
        ratios,
        advantages=advantages,
        ratio_clip_min=ratio_clip_min,
        ratio_clip_max=ratio_clip_max,
        ratio_clip_c=ratio_clip_c,
    )
    if importance_weights is not None:
        policy_values = select(importance_weights.detach()) * policy_values
    policy_loss = share(policy_values)
    kl = torch.zeros_like(policy_loss)
    if reference_policy_logprobs is not None:
        reference = select(reference_policy_logprobs.detach())
        kl_weights = _compute_kl_weights(curr, kl_sampling_logprobs, select)
        kl = share(kl_estimator(curr, reference, importance_weights=kl_weights))
    ratios, infinite_outside = ratios.detach(), select.fill(torch.inf)
    return PolicyLoss(
        loss=policy_loss if kl_penalty == 0 else policy_loss + kl_penalty * kl,
        policy_loss=policy_loss.detach(),
        kl=kl.detach(),
        clip_fraction_low=share(_is_less(advantages, 0.0) * _is_less(ratios, 1 - ratio_clip_min)),
        clip_fraction_high=share(
            _is_less(-advantages, 0.0) * _is_less(-ratios, -1 - ratio_clip_max)
        ),
        ratio_mean=share(ratios),
        ratio_min=(ratios + infinite_outside).amin(),
        ratio_max=(ratios - infinite_outside).amax(),
    )


def compute_clipped_policy_loss(
    ratios: Tensor,  # [B, S]
    *,
    advantages: Tensor,  # [B, S], constants
    ratio_clip_min: float,  # eps_low, in (0, 1]; inf for no bound
    ratio_clip_max: float,  # eps_high, > 0; inf for no bound
    ratio_clip_c: float | None = None,  # dual clip, > 1
) -> Tensor:  # [B, S]
    """-min(r A, clip(r, 1 - eps_low, 1 + eps_high) A) per token, unmasked.

    With dual clip the loss of a token with A < 0 is at most -c A. Raises ValueError on a negative
    bound and on c <= 1.
    """
    if not (ratio_clip_min >= 0 and ratio_clip_max >= 0):
        raise ValueError(f"clip bounds must be >= 0, got {ratio_clip_min}, {ratio_clip_max}")
    if ratio_clip_c is not None and not ratio_clip_c > 1:
        raise ValueError(f"ratio_clip_c must be > 1, got {ratio_clip_c}")
    values: Tensor = _ClippedPolicyLoss.apply(  # type: ignore[no-untyped-call]
        ratios, advantages, 1 - ratio_clip_min, 1 + ratio_clip_max, ratio_clip_c
    )
    return values


class _ClippedPolicyLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, ratios: Tensor, advantages: Tensor, low: float, high: float, c: float | None
    ) -> Tensor:
        gain = advantages * ratios
        bounded = advantages * ratios.clamp(low, high)
        values = torch.minimum(gain, bounded).neg_()
        is_clipped = _is_less(bounded, gain)
        if c is not None:
            limit = torch.where(advantages < 0, -c * advantages, torch.inf)
            is_clipped = torch.maximum(is_clipped, _is_less(limit, values))
            values = torch.minimum(values, limit)
        ctx.save_for_backward(torch.addcmul(-advantages, advantages, is_clipped))
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        (slope,) = ctx.saved_tensors
        return grad * slope, None, None, None, None


def weigh_tokens_equally(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """1: with global_count = valid tokens of the global batch all weigh the same (DAPO)."""
    return torch.ones_like(mask[:, :1], dtype=dtype)


def weigh_samples_equally(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """1 / tokens of the sample: with global_count = valid samples every sample weighs the same.

    (GRPO, arXiv 2402.03300, eq. 3.) A valid sample without valid tokens adds 0.
    """
    return 1 / mask.sum(dim=-1, keepdim=True).clamp(min=1).to(dtype)


def _share_of_mean(values: Tensor, *, weights: Tensor, global_count: Tensor | float) -> Tensor:
    return values.flatten().dot(weights) / global_count


def _is_less(values: Tensor, bound: Tensor | float) -> Tensor:
    """1 and 0 in the dtype of ``values``: a CPU is slow at bools, and at masking with them."""
    return torch.lt(values, bound, out=torch.empty_like(values))


def _per_token(advantages: Tensor) -> Tensor:
    return advantages[:, None] if advantages.dim() == 1 else advantages


def _compute_kl_weights(
    curr: Tensor, sampling_logprobs: Tensor | None, select: TokenSelector
) -> Tensor | None:
    if sampling_logprobs is None:
        return None
    return compute_kl_importance_weights(curr, sampling_logprobs=select(sampling_logprobs.detach()))
