"""Importance weights for the mismatch between the sampler and the trainer.

The sampler (vLLM, a KV cache, FP8) and the trainer disagree slightly on the log-probability
of the very same token under the very same weights. w_t = pi_prev(t) / pi_generation(t) corrects
for it; the variants here keep a few wild ratios from ruling the gradient. Weights are
constants to the optimizer (detached). Outside ``token_mask`` they are finite, and for the loss to
mask.

Everywhere: log_ratio = prev_logprobs - generation_logprobs, [B, S], natural log; a ratio that is
not finite counts as weight 0, as in NeMo-RL; bounds are inclusive.
"""

from __future__ import annotations

import torch
from torch import Tensor

from prorl_nemo.algorithms.masking import TokenSelector


def compute_importance_weights(
    log_ratio: Tensor,  # [B, S]
    *,
    token_mask: Tensor,  # [B, S] bool
) -> Tensor:  # [B, S]
    """w_t = exp(log_ratio_t), untruncated; 0 outside the mask."""
    ratio = log_ratio.detach().exp()
    ratio = torch.nan_to_num(ratio, nan=0.0, posinf=0.0, neginf=0.0)
    return TokenSelector(token_mask, dtype=ratio.dtype)(ratio)


def truncate_tis(
    weights: Tensor,  # [B, S], from compute_importance_weights
    *,
    ratio_max: float,
    ratio_min: float = 0.0,
) -> Tensor:  # [B, S]
    """Truncated importance sampling: w_t = clamp(exp(log_ratio_t), ratio_min, ratio_max)."""
    _check_bounds(ratio_min, ratio_max)
    return weights.clamp(ratio_min, ratio_max)


def truncate_icepop(
    weights: Tensor,  # [B, S], from compute_importance_weights
    *,
    ratio_max: float,
    ratio_min: float,
) -> Tensor:  # [B, S]
    """IcePop: tokens whose ratio leaves [ratio_min, ratio_max] get weight 0, others their own."""
    _check_bounds(ratio_min, ratio_max)
    is_kept = (weights >= ratio_min) & (weights <= ratio_max)
    return weights * is_kept  # they are finite


def truncate_sequences(
    weights: Tensor,  # [B, S], from compute_importance_weights
    *,
    mean_ratio: Tensor,  # [B], from compute_sequence_mean_ratio
    ratio_max: float,
    ratio_min: float,
) -> Tensor:  # [B, S]
    """Sequences whose geometric-mean ratio leaves the bounds get weight 0, others token ratios."""
    _check_bounds(ratio_min, ratio_max)
    is_kept = (mean_ratio >= ratio_min) & (mean_ratio <= ratio_max)
    return weights * is_kept[:, None]


def sum_log_ratio_over_sequence(
    log_ratio: Tensor,  # [B, S]
    *,
    token_mask: Tensor,  # [B, S] bool
) -> Tensor:  # [B, S]
    """The sequence's log-ratio at each of its tokens; feed it to the functions above (GSPO)."""
    total = torch.where(token_mask.bool(), log_ratio, 0.0).sum(dim=-1, keepdim=True)
    return total.expand(log_ratio.shape)


def compute_sequence_mean_ratio(
    log_ratio: Tensor,  # [B, S]
    *,
    token_mask: Tensor,  # [B, S] bool
) -> Tensor:  # [B]
    """exp(mean over valid tokens of log_ratio), the geometric mean; 1 for an empty sequence."""
    mask = token_mask.bool()
    log_ratio = torch.nan_to_num(log_ratio.detach(), nan=0.0, posinf=0.0, neginf=0.0)
    total = torch.where(mask, log_ratio, 0.0).sum(dim=-1)
    return (total / mask.sum(dim=-1).clamp(min=1)).exp()


def compute_out_of_bound_rate(
    ratio: Tensor,  # [...]
    *,
    mask: Tensor,  # [...] bool
    ratio_max: float,
    ratio_min: float,
    global_count: Tensor,  # [] how many True the mask has over all microbatches and ranks
) -> Tensor:  # []
    """Share of ratios outside [ratio_min, ratio_max]; the shares of microbatches add up.

    ``ratio`` is compute_importance_weights with the token mask and count, or
    compute_sequence_mean_ratio with the sample mask and count.
    """
    is_outside = ratio.clamp(ratio_min, ratio_max).ne_(ratio)
    return TokenSelector(mask, dtype=ratio.dtype)(is_outside).sum() / global_count


def _check_bounds(ratio_min: float, ratio_max: float) -> None:
    if not 0 <= ratio_min <= ratio_max or ratio_max <= 0:
        raise ValueError(
            f"need 0 <= ratio_min <= ratio_max and ratio_max > 0, got {ratio_min}, {ratio_max}"
        )
