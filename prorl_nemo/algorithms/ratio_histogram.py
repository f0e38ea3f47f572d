"""Quantiles of the policy ratio that survive being split over microbatches and ranks.

Quantiles don't add up, counts do: each microbatch contributes a histogram of log-ratios as
shares of the global batch, the sum over microbatches and ranks is the batch's, and the quantiles
are read from that, exact to one bin.
"""

from __future__ import annotations

import torch
from torch import Tensor

from prorl_nemo.algorithms.masking import combine_masks


def compute_log_ratio_histogram(
    log_ratio: Tensor,  # [B, S] curr_logprobs - prev_logprobs
    *,
    token_mask: Tensor,  # [B, S]
    sample_mask: Tensor,  # [B]
    global_valid_toks: Tensor | float,  # > 0
    limit: float,  # > 0, nats
    num_bins: int,
) -> Tensor:  # [num_bins] float32, shares of the global batch: SUM them
    """Equal bins over [-limit, limit]; what lies beyond (or is NaN) counts in the outermost."""
    mask = combine_masks(token_mask, sample_mask=sample_mask)
    position = log_ratio.detach().float().mul(num_bins / (2 * limit)).add_(num_bins / 2)
    position = position.nan_to_num_(nan=num_bins).clamp_(0, num_bins - 1)  # long() rounds down
    counts = torch.zeros(num_bins, device=log_ratio.device)
    counts = counts.scatter_add_(0, position.long().flatten(), mask.flatten().float())
    return counts / global_valid_toks


def estimate_log_ratio_quantile(
    histogram: Tensor,  # [num_bins], summed over the global batch
    *,
    quantile: float,  # in [0, 1]
    limit: float,  # as in compute_log_ratio_histogram
) -> Tensor:  # [] nats; exp of it is the ratio's quantile
    """Linear within its bin, so off by at most one bin's width, 2 * limit / num_bins."""
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile must lie in [0, 1], got {quantile}")
    cumulative = histogram.cumsum(dim=0)
    smallest = torch.finfo(cumulative.dtype).tiny  # so that quantile 0 skips empty bins
    target = (quantile * cumulative[-1]).clamp(min=smallest).reshape(1)
    index = torch.searchsorted(cumulative, target).clamp(max=len(histogram) - 1)
    below = cumulative[index] - histogram[index]
    fraction = ((target - below) / histogram[index].clamp(min=1e-12)).clamp(0, 1)
    return ((index + fraction) * (2 * limit / len(histogram)) - limit).squeeze(0)
