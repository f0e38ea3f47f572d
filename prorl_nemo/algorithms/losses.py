"""The policy loss of ProRL: clipped policy gradient plus KL to a reference.

    L = 1/N sum_{i,t} [ -w_it min(r_it A_it, clip(r_it, 1 - eps_low, 1 + eps_high) A_it)
                        + beta KL_it ]

(ProRL, arXiv 2505.24864, eq. 1-3; decoupled clip and token-level mean: DAPO, arXiv 2503.14476,
eq. 10; dual clip: arXiv 1912.09729, eq. 5). N counts all valid tokens (or sequences) of the GLOBAL
batch, so that losses, gradients and metrics of microbatches and ranks simply add up.

Everything is masked with torch.where on the way in and on the way out: padding may hold anything,
NaN included, without touching value or gradient. A bad number at a valid token is not hidden. No
function here reads a number back from the device.

Deliberately not here: how log-probs, advantages and importance weights are made, and any
choice by name; choices arrive as functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from prorl_nemo.algorithms.kl import KLEstimator, compute_kl_importance_weights
from prorl_nemo.algorithms.masking import combine_masks


class Aggregate(Protocol):
    """Per-token values -> scalar share of the global mean; bind the global count with partial."""

    def __call__(
        self,
        values: Tensor,  # [B, S]
        *,
        token_mask: Tensor,  # [B, S]
        sample_mask: Tensor,  # [B]
    ) -> Tensor: ...  # []


# (curr_logprobs [B, S], prev_logprobs [B, S], mask [B, S] bool) -> ratios [B, S]
ComputeRatios = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class PolicyLoss:
    """A microbatch's share of the global loss, and what to log about it.

    Only ``loss`` carries a gradient. All but the last two are shares of a global mean, taken by
    the loss's own ``aggregate``: SUM them over microbatches and ranks. ``ratio_min`` and
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
    kl_sampling_logprobs: Tensor | None,  # [B, S], see below
    aggregate: Aggregate,
    compute_ratios: ComputeRatios = compute_token_ratios,
) -> PolicyLoss:
    """The loss both engines minimise; the module docstring has the equation.

    The KL is weighted by exp(curr - kl_sampling), see kl.compute_kl_importance_weights, or not
    (None). With kl_penalty 0 it is only measured. ValueError: no reference for it, bad bounds.
    """
    if kl_penalty != 0 and reference_policy_logprobs is None:
        raise ValueError(f"kl_penalty is {kl_penalty} but there are no reference_policy_logprobs")
    mask = combine_masks(token_mask, sample_mask=sample_mask)
    curr = torch.where(mask, curr_logprobs, 0.0)
    prev = torch.where(mask, prev_logprobs.detach(), 0.0)
    advantages = torch.where(mask, _per_token(advantages), 0.0)
    ratios = compute_ratios(curr, prev, mask)
    policy_values = compute_clipped_policy_loss(
        ratios,
        advantages=advantages,
        ratio_clip_min=ratio_clip_min,
        ratio_clip_max=ratio_clip_max,
        ratio_clip_c=ratio_clip_c,
    )
    if importance_weights is not None:
        policy_values = torch.where(mask, importance_weights.detach(), 0.0) * policy_values
    share = partial(aggregate, token_mask=token_mask, sample_mask=sample_mask)
    policy_loss = share(policy_values)
    kl = torch.zeros_like(policy_loss)
    if reference_policy_logprobs is not None:
        reference = torch.where(mask, reference_policy_logprobs.detach(), 0.0)
        weights = _compute_kl_weights(curr, kl_sampling_logprobs, mask)
        kl = share(kl_estimator(curr, reference, importance_weights=weights))

    ratios = ratios.detach()
    is_low = (advantages < 0) & (ratios < 1 - ratio_clip_min)
    is_high = (advantages > 0) & (ratios > 1 + ratio_clip_max)
    return PolicyLoss(
        loss=policy_loss if kl_penalty == 0 else policy_loss + kl_penalty * kl,
        policy_loss=policy_loss.detach(),
        kl=kl.detach(),
        clip_fraction_low=share(is_low.to(ratios.dtype)),
        clip_fraction_high=share(is_high.to(ratios.dtype)),
        ratio_mean=share(ratios),
        ratio_min=torch.where(mask, ratios, torch.inf).amin(),
        ratio_max=torch.where(mask, ratios, -torch.inf).amax(),
    )


def compute_clipped_policy_loss(
    ratios: Tensor,  # [B, S]
    *,
    advantages: Tensor,  # [B, S]
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
    clipped = ratios.clamp(1 - ratio_clip_min, 1 + ratio_clip_max)
    values = torch.maximum(-advantages * ratios, -advantages * clipped)
    if ratio_clip_c is None:
        return values
    bounded = torch.minimum(values, -advantages * ratio_clip_c)
    return torch.where(advantages < 0, bounded, values)


def aggregate_token_level(
    values: Tensor,  # [B, S]
    *,
    token_mask: Tensor,  # [B, S]
    sample_mask: Tensor,  # [B]
    global_valid_toks: Tensor | float,  # > 0, valid tokens of the global batch
) -> Tensor:  # []
    """Sum over valid tokens / global_valid_toks: every token weighs the same (DAPO)."""
    mask = combine_masks(token_mask, sample_mask=sample_mask)
    return torch.where(mask, values, 0.0).sum() / global_valid_toks


def aggregate_sequence_level(
    values: Tensor,  # [B, S]
    *,
    token_mask: Tensor,  # [B, S]
    sample_mask: Tensor,  # [B]
    global_valid_seqs: Tensor | float,  # > 0, valid samples of the global batch
) -> Tensor:  # []
    """Sum over samples of their token mean / global_valid_seqs: every sample weighs the same.

    (GRPO, arXiv 2402.03300, eq. 3.) A valid sample without valid tokens adds 0.
    """
    mask = combine_masks(token_mask, sample_mask=sample_mask)
    means = torch.where(mask, values, 0.0).sum(dim=-1) / mask.sum(dim=-1).clamp(min=1)
    return means.sum() / global_valid_seqs


def _per_token(advantages: Tensor) -> Tensor:
    return advantages[:, None] if advantages.dim() == 1 else advantages


def _compute_kl_weights(
    curr: Tensor, sampling_logprobs: Tensor | None, mask: Tensor
) -> Tensor | None:
    if sampling_logprobs is None:
        return None
    sampling = torch.where(mask, sampling_logprobs, 0.0)
    return compute_kl_importance_weights(curr, sampling_logprobs=sampling)
