"""From rewards to advantages and masks: the last place that reads modes from the config.

Shaping and length reward act on a copy of the reward, after dynamic sampling has looked
at the unshaped one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from prorl_nemo.algorithms.advantages import (
    compute_grpo_advantages,
    compute_leave_one_out_advantages,
    compute_reinforce_plus_plus_baseline_advantages,
)
from prorl_nemo.algorithms.masking import combine_masks, filter_overlong_samples, make_token_mask
from prorl_nemo.algorithms.reward_shaping import (
    apply_overlong_penalty,
    apply_stop_properly_penalty,
    cosine_length_bonus,
    is_length_reward_active,
)
from prorl_nemo.config_campaign import Config
from prorl_nemo.types import RolloutBatch, TrainBatch


def make_train_batch(rollouts: RolloutBatch, config: Config, *, step: int) -> TrainBatch:
    """Shape the rewards of ``rollouts`` and turn them into per-token advantages."""
    token_mask = make_token_mask(
        rollouts.input_lengths,
        prompt_lengths=rollouts.prompt_lengths,
        sequence_length=rollouts.input_ids.shape[1],
    )
    sample_mask = torch.ones_like(rollouts.truncated)
    if config.grpo.overlong_filtering:
        sample_mask = filter_overlong_samples(sample_mask, truncated=rollouts.truncated)
    rewards = shape_rewards(rollouts, config, step=step)
    return TrainBatch(
        rollouts=rollouts,
        advantages=_compute_advantages(
            rewards, rollouts, combine_masks(token_mask, sample_mask=sample_mask), config
        ),
        token_mask=token_mask,
        sample_mask=sample_mask,
    )


def shape_rewards(rollouts: RolloutBatch, config: Config, *, step: int) -> Tensor:
    """Rewards with the penalties and the length reward in force at ``step``, [B]."""
    rewards = rollouts.rewards
    shaping, length_reward = config.grpo.reward_shaping, config.prorl.length_reward
    limit = config.policy.generation.max_new_tokens
    if shaping.stop_properly_penalty_coef is not None:
        rewards = apply_stop_properly_penalty(
            rewards, truncated=rollouts.truncated, scale=shaping.stop_properly_penalty_coef
        )
    if shaping.overlong_buffer_length is not None:
        rewards = apply_overlong_penalty(
            rewards,
            response_lengths=rollouts.response_lengths,
            max_response_length=limit,
            buffer_length=shaping.overlong_buffer_length,
            penalty=shaping.overlong_buffer_penalty,
        )
    if length_reward.coefficient and is_length_reward_active(
        step, period_steps=length_reward.period_steps, active_steps=length_reward.active_steps
    ):
        rewards = rewards + length_reward.coefficient * cosine_length_bonus(
            rollouts.response_lengths,
            max_response_length=limit,
            eta_min=length_reward.eta_min,
            eta_max=length_reward.eta_max,
        )
    return rewards


def _compute_advantages(
    rewards: Tensor, rollouts: RolloutBatch, token_mask: Tensor, config: Config
) -> Tensor:
    """Per-token advantages, [B, S]."""
    estimator, group_ids = config.grpo.adv_estimator, rollouts.group_ids
    if estimator.name == "reinforce_plus_plus_baseline":
        return compute_reinforce_plus_plus_baseline_advantages(
            rewards, group_ids=group_ids, token_mask=token_mask
        )
    compute = (
        compute_grpo_advantages if estimator.name == "grpo" else compute_leave_one_out_advantages
    )
    per_response = compute(rewards, group_ids=group_ids, normalize_std=estimator.normalize_rewards)
    return per_response.unsqueeze(-1).expand(token_mask.shape)
