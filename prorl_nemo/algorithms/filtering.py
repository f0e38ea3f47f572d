"""Dynamic sampling's filter: which groups carry a learning signal (DAPO, arXiv 2503.14476).

Decides about whole groups only, by id; refilling the batch is not its business.
"""

from __future__ import annotations

import torch
from torch import Tensor


def select_informative_groups(
    rewards: Tensor,  # [B], UNSHAPED: as the task gave them
    *,
    group_ids: Tensor,  # [B] int64, any order
    tolerance: float,
) -> Tensor:  # [B] bool
    """True for every response of a group whose max - min reward exceeds ``tolerance``.

    All siblings share one verdict: a group [1, 0, 0, 0] is kept whole, one of equal rewards is
    dropped whole. Feed the unshaped reward: a length penalty would make a group of equally
    wrong answers look informative. Raises ValueError on a reward that is not finite, on a
    negative tolerance, and on shapes that differ.
    """
    if rewards.shape != group_ids.shape or rewards.dim() != 1:
        raise ValueError(
            f"rewards {tuple(rewards.shape)} and group_ids {tuple(group_ids.shape)} must be "
            "one-dimensional and equally long"
        )
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be >= 0, got {tolerance}")
    if not bool(torch.isfinite(rewards).all()):
        index = int((~torch.isfinite(rewards)).nonzero()[0])
        raise ValueError(f"reward {index} of the batch is not finite: {float(rewards[index])}")
    unique_ids, group = torch.unique(group_ids, return_inverse=True)
    highest = rewards.new_full(unique_ids.shape, -torch.inf)
    highest = highest.scatter_reduce(0, group, rewards, "amax")
    lowest = rewards.new_full(unique_ids.shape, torch.inf)
    lowest = lowest.scatter_reduce(0, group, rewards, "amin")
    return (highest - lowest > tolerance)[group]
