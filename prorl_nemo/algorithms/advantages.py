"""Group-relative advantages: what one response is worth against its siblings.

Rewards come in whole groups (several responses to one prompt) named by ``group_ids``, in
any order; nothing here looks at prompts. All functions leave ``rewards`` alone and return a
new tensor of the same dtype.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def compute_grpo_advantages(
    rewards: Tensor,  # [B]
    *,
    group_ids: Tensor,  # [B] int64
    normalize_std: bool = True,
    epsilon: float = 1e-6,
) -> Tensor:  # [B]
    """A_i = (R_i - mean_group) / (std_group + epsilon)   (GRPO, arXiv 2402.03300, eq. 4.1.2).

    The standard deviation is the sample one (divides by n - 1), as in NeMo-RL. A group of one,
    or one whose rewards are all equal, gets exactly 0. ``normalize_std=False`` stops after the
    subtraction. Raises ValueError on shapes that differ.
    """
    groups = _pad_groups(rewards, group_ids)
    centred = groups.centred()
    if not normalize_std:
        return groups.flatten(centred)
    degrees_of_freedom = (groups.sizes - 1).clamp(min=1)
    variance = centred.square().sum(dim=1) / degrees_of_freedom
    return groups.flatten(centred / (variance.sqrt()[:, None] + epsilon))


def compute_leave_one_out_advantages(
    rewards: Tensor,  # [B]
    *,
    group_ids: Tensor,  # [B] int64
    normalize_std: bool = False,
    epsilon: float = 1e-6,
) -> Tensor:  # [B]
    """A_i = R_i - mean of the OTHER rewards of the group   (RLOO, arXiv 2402.14740, eq. 9).

    ``normalize_std`` divides by the sample standard deviation of those others plus
    ``epsilon``, as NeMo-RL does; where the others are all equal, or fewer than two, the
    difference stays as it is. A group of one, or one whose rewards are all equal, gets
    exactly 0. Needs memory for G x n x n numbers (G groups of at most n).
    """
    groups = _pad_groups(rewards, group_ids)
    centred = groups.centred()
    num_others = (groups.sizes - 1).clamp(min=1)
    advantages = centred * (groups.sizes / num_others)[:, None]  # R - (S - R)/(n-1)
    if normalize_std:
        std = groups.std_of_others()
        advantages = torch.where(std > 0, advantages / (std + epsilon), advantages)
    return groups.flatten(advantages)


def compute_reinforce_plus_plus_baseline_advantages(
    rewards: Tensor,  # [B]
    *,
    group_ids: Tensor,  # [B] int64
    token_mask: Tensor,  # [B, S] bool, sample mask already applied
    epsilon: float = 1e-8,
) -> Tensor:  # [B, S]
    """Group-mean baseline, then whitening over the batch (REINFORCE++-baseline, 2501.03262).

    A_it = (R_i - mean_group - mean) / sqrt(max(var, epsilon)), with the mean and the
    (population) variance taken over all valid tokens of the WHOLE batch: call it before the
    batch is split. Long responses therefore weigh more. 0 where ``token_mask`` is False.
    """
    if token_mask.shape[:1] != rewards.shape:
        raise ValueError(f"token_mask is {tuple(token_mask.shape)} for {len(rewards)} rewards")
    centred = compute_grpo_advantages(rewards, group_ids=group_ids, normalize_std=False)
    mask = token_mask.bool()
    num_tokens = mask.sum().clamp(min=1)
    values = torch.where(mask, centred[:, None], 0.0)
    values = torch.where(mask, values - values.sum() / num_tokens, 0.0)
    variance = values.square().sum() / num_tokens
    return values * variance.clamp(min=epsilon).rsqrt()


@dataclass(frozen=True)
class _PaddedGroups:
    """Rewards as one row per group; ``present`` tells rewards from padding."""

    rewards: Tensor  # [G, n], 0 where absent
    present: Tensor  # [G, n] bool
    row: Tensor  # [B]
    column: Tensor  # [B]

    @property
    def sizes(self) -> Tensor:  # [G]
        return self.present.sum(dim=1)

    def centred(self) -> Tensor:  # [G, n]
        """Rewards minus group mean; exactly 0 in a group of equal rewards."""
        mean = self.rewards.sum(dim=1) / self.sizes
        is_flat = _range(self.rewards, self.present) == 0
        keep = self.present & ~is_flat[:, None]
        return torch.where(keep, self.rewards - mean[:, None], 0.0)

    def std_of_others(self) -> Tensor:  # [G, n]
        """Sample standard deviation without one's own reward; exactly 0 if others are equal."""
        not_self = ~torch.eye(self.rewards.shape[1], dtype=torch.bool, device=self.rewards.device)
        others = self.present[:, None, :] & not_self  # [G, i, k]
        values = self.rewards[:, None, :].expand(others.shape)
        count = others.sum(dim=2)
        mean = torch.where(others, values, 0.0).sum(dim=2) / count.clamp(min=1)
        deviations = torch.where(others, values - mean[:, :, None], 0.0)
        variance = deviations.square().sum(dim=2) / (count - 1).clamp(min=1)
        is_flat = (count < 2) | (_range(values, others) == 0)
        return torch.where(is_flat, 0.0, variance.sqrt())

    def flatten(self, values: Tensor) -> Tensor:  # [G, n] -> [B]
        return values[self.row, self.column]


def _pad_groups(rewards: Tensor, group_ids: Tensor) -> _PaddedGroups:
    if rewards.shape != group_ids.shape or rewards.dim() != 1:
        raise ValueError(
            f"rewards {tuple(rewards.shape)} and group_ids {tuple(group_ids.shape)} must be "
            "one-dimensional and equally long"
        )
    _, row, sizes = torch.unique(group_ids, return_inverse=True, return_counts=True)
    order = torch.argsort(row, stable=True)
    starts = sizes.cumsum(0) - sizes
    column = torch.empty_like(row)
    column[order] = torch.arange(len(row), device=row.device) - starts[row[order]]
    shape = (len(sizes), int(sizes.max()) if len(sizes) else 1)
    padded = rewards.new_zeros(shape)
    padded[row, column] = rewards
    present = torch.zeros(shape, dtype=torch.bool, device=rewards.device)
    present[row, column] = True
    return _PaddedGroups(padded, present, row, column)


def _range(values: Tensor, present: Tensor) -> Tensor:
    """max - min over the last dimension of what is present (-inf where nothing is)."""
    highest = torch.where(present, values, -torch.inf).amax(dim=-1)
    lowest = torch.where(present, values, torch.inf).amin(dim=-1)
    return highest - lowest
