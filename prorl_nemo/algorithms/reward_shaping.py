"""Shaping of rewards by length and termination.

Every function takes rewards and returns new ones, so that they combine by calling one after the
other; scale first (stop-properly), then add (overlong, cosine). The unshaped rewards stay
for the group filter.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def apply_overlong_penalty(
    rewards: Tensor,  # [B]
    *,
    response_lengths: Tensor,  # [B] tokens
    max_response_length: int,  # tokens
    buffer_length: int,  # tokens; the penalty grows over the last ones before the maximum
    penalty: float,  # at the maximum
) -> Tensor:  # [B]
    """R + max(-penalty, min(0, (L_max - L_buffer - L) / L_buffer * penalty)).

    DAPO, arXiv 2503.14476, eq. 13: no change up to L_max - L_buffer, then linear, -penalty at
    L_max and beyond. Raises ValueError on a negative penalty or a buffer outside (0, L_max].
    """
    if not penalty >= 0:
        raise ValueError(f"overlong penalty must be >= 0, got {penalty}")
    if not 0 < buffer_length <= max_response_length:
        raise ValueError(
            f"overlong buffer_length must lie in (0, {max_response_length}], got {buffer_length}"
        )
    exceeding = response_lengths.to(rewards.dtype) - (max_response_length - buffer_length)
    return rewards - (exceeding / buffer_length * penalty).clamp(min=0.0, max=penalty)


def apply_stop_properly_penalty(
    rewards: Tensor,  # [B]
    *,
    truncated: Tensor,  # [B] bool, ended by the token limit instead of an end-of-sequence
    scale: float,  # in [0, 1]; 1 leaves rewards alone
    penalty: float = 0.0,  # >= 0, subtracted after scaling
) -> Tensor:  # [B]
    """R' = scale * R - penalty where truncated.

    ``scale`` alone is NeMo-RL's stop_properly_penalty_coef. It can't tell a wrong answer that
    ends from a wrong one that doesn't (both 0); ``penalty`` can. ProRL's own formula (runs 4
    and 5, arXiv 2505.24864, appendix E) is not published. Raises ValueError out of range.
    """
    if not 0 <= scale <= 1:
        raise ValueError(f"stop-properly scale must lie in [0, 1], got {scale}")
    if not penalty >= 0:
        raise ValueError(f"stop-properly penalty must be >= 0, got {penalty}")
    return torch.where(truncated.bool(), rewards * scale - penalty, rewards)


def cosine_length_bonus(
    response_lengths: Tensor,  # [B] tokens
    *,
    max_response_length: int,  # T, tokens
    eta_min: float,  # at T and beyond
    eta_max: float,  # at length 0
) -> Tensor:  # [B] float32
    """eta(t) = eta_min + (eta_max - eta_min) (1 + cos(pi t / T)) / 2   (ProRL v2).

    Add it to the reward with a weight: R' = R + lambda * eta(t). Raises ValueError when eta_min
    exceeds eta_max (that would reward length) or T < 1.
    """
    if not eta_min <= eta_max:
        raise ValueError(f"need eta_min <= eta_max, got {eta_min}, {eta_max}")
    if max_response_length < 1:
        raise ValueError(f"max_response_length must be >= 1, got {max_response_length}")
    fraction = (response_lengths.float() / max_response_length).clamp(max=1.0)
    return eta_min + 0.5 * (eta_max - eta_min) * (1 + torch.cos(math.pi * fraction))


def is_length_reward_active(step: int, *, period_steps: int, active_steps: int) -> bool:
    """Whether the length reward is on at ``step`` (from 0): the first active_steps of each period.

    ProRL v2 switches it on for about 100 of every 600 updates. Raises ValueError unless
    0 <= active_steps <= period_steps and period_steps >= 1.
    """
    if period_steps < 1 or not 0 <= active_steps <= period_steps:
        raise ValueError(
            f"need 0 <= active_steps <= period_steps >= 1, got {active_steps}, {period_steps}"
        )
    return step % period_steps < active_steps
