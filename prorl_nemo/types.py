"""The stages of a batch, one frozen dataclass each.

A batch is born as :class:`RolloutBatch`, becomes a :class:`TrainBatch` when rewards
turn into advantages, and is extended with ``dataclasses.replace`` on the way to the
optimizer. Tensor layout is NeMo-RL's: [B, S], prompt and response right-padded, position
``t`` describes token ``t``, column 0 masked. Not here: configuration and state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from prorl_nemo.tasks.base import Problem


@dataclass(frozen=True)
class PromptGroup:
    """One problem and the id that its group of responses carries from here to the loss."""

    group_id: int
    problem: Problem


@dataclass(frozen=True)
class RolloutBatch:
    """Scored responses, whole groups only.

    ``rewards`` are the tasks' own, unshaped, in [0, 1]. ``generation_logprobs`` are those
    of the behaviour policy at the sampling temperature, 0 outside the response.
    ``policy_step`` is the training step whose weights wrote the response.
    """

    group_ids: Tensor  # [B] int64
    task_names: tuple[str, ...]  # B names
    input_ids: Tensor  # [B, S] int64
    input_lengths: Tensor  # [B] int64, prompt + response tokens
    prompt_lengths: Tensor  # [B] int64
    generation_logprobs: Tensor  # [B, S] float32
    rewards: Tensor  # [B] float32
    truncated: Tensor  # [B] bool: no end-of-sequence within the token limit
    scorer_failed: Tensor  # [B] bool: no verdict could be reached, the reward is 0
    policy_step: Tensor  # [B] int64

    def __post_init__(self) -> None:
        rows = len(self.task_names)
        for field in fields(self):
            value = getattr(self, field.name)
            assert len(value) == rows, f"{field.name}: {len(value)} rows, expected {rows}"

    def __len__(self) -> int:
        return len(self.task_names)

    @property
    def num_groups(self) -> int:
        return int(torch.unique(self.group_ids).numel())

    @property
    def response_lengths(self) -> Tensor:
        """Response tokens per row, [B] int64."""
        return self.input_lengths - self.prompt_lengths

    def select(self, keep: Tensor) -> RolloutBatch:
        """The rows where ``keep`` ([B] bool) holds, in order, padding cut to what is left."""
        rows = torch.nonzero(keep).flatten()
        names = tuple(self.task_names[i] for i in rows.tolist())
        width = int(self.input_lengths[rows].max()) if len(rows) else 0
        columns = {
            field.name: _cut(getattr(self, field.name)[rows], width)
            for field in fields(self)
            if field.name != "task_names"
        }
        return RolloutBatch(task_names=names, **columns)


@dataclass(frozen=True)
class TrainBatch:
    """A rollout batch ready for the loss.

    ``advantages`` are per token. ``compute_logprobs`` fills the last three:
    log-probabilities of the policy before this step's updates and of the reference, and the
    policy's entropy in nats, all 0 outside the response.
    """

    rollouts: RolloutBatch
    advantages: Tensor  # [B, S] float32
    token_mask: Tensor  # [B, S] bool: response tokens
    sample_mask: Tensor  # [B] bool: rows that enter the loss
    prev_logprobs: Tensor | None = None  # [B, S]
    reference_policy_logprobs: Tensor | None = None  # [B, S]
    entropy: Tensor | None = None  # [B, S]

    @property
    def loss_mask(self) -> Tensor:
        """Tokens that enter the loss, [B, S] bool."""
        return self.token_mask & self.sample_mask.unsqueeze(-1)


@dataclass(frozen=True)
class TrainMetrics:
    """What one training step reports; means over the step's optimizer updates."""

    loss: float
    policy_loss: float
    kl_penalty: float
    clip_fraction_low: float
    clip_fraction_high: float
    ratio_mean: float
    importance_out_of_bound_rate: float
    grad_norm: float
    learning_rate: float
    num_updates: int


@dataclass(frozen=True)
class ValidationResult:
    """Mean reward per task on held-out problems; ``score`` is the mean over tasks."""

    score: float
    task_scores: tuple[tuple[str, float], ...]
    num_problems: int
    num_samples: int
    response_length_mean: float
    truncated_rate: float


def concatenate_rollouts(batches: Sequence[RolloutBatch]) -> RolloutBatch:
    """Stack batches of different widths, padding on the right; at least one batch."""
    assert batches, "nothing to concatenate"
    if len(batches) == 1:
        return batches[0]
    width = max(batch.input_ids.shape[1] for batch in batches)
    columns = {
        field.name: torch.cat([_pad(getattr(batch, field.name), width) for batch in batches])
        for field in fields(RolloutBatch)
        if field.name != "task_names"
    }
    names = tuple(name for batch in batches for name in batch.task_names)
    return RolloutBatch(task_names=names, **columns)


def _cut(column: Tensor, width: int) -> Tensor:
    return column[:, :width] if column.ndim == 2 else column


def _pad(column: Tensor, width: int) -> Tensor:
    if column.ndim == 1 or column.shape[1] == width:
        return column
    return torch.nn.functional.pad(column, (0, width - column.shape[1]))
