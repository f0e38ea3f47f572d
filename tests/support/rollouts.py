"""Rollout batches written by hand, and prompt streams over invented problems."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from prorl_nemo.data.prompt_stream import PromptStream, WeightedTask
from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.types import RolloutBatch


class CountingTask:
    """Problems 0, 1, 2, ...; right is the answer "yes"."""

    needs_isolation = False

    def __init__(self, name: str = "count", *, size: int = 100_000) -> None:
        self.name = name
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Problem:
        if not 0 <= index < self._size:
            raise IndexError(index)
        return Problem(f"{self.name}/{index}", self.name, f"{self.name} {index}", "yes")

    def score(self, problem: Problem, response: str) -> Score:
        return Score(float(response == problem.answer))


def make_stream(*tasks: CountingTask, seed: int = 1) -> PromptStream:
    chosen = tasks or (CountingTask(),)
    return PromptStream([WeightedTask(task, 1.0) for task in chosen], seed=seed)


def make_rollouts(
    rewards: Sequence[Sequence[float]],
    *,
    group_ids: Sequence[int] | None = None,
    policy_step: int = 0,
    truncated: Sequence[bool] | None = None,
    response_tokens: int = 2,
) -> RolloutBatch:
    """One row of ``rewards`` per group; prompts of two tokens."""
    ids = range(len(rewards)) if group_ids is None else group_ids
    flat = [reward for group in rewards for reward in group]
    rows, width = len(flat), 2 + response_tokens
    generation_logprobs = torch.zeros(rows, width)
    generation_logprobs[:, 2:] = -1.0
    return RolloutBatch(
        group_ids=torch.tensor([i for i, group in zip(ids, rewards, strict=True) for _ in group]),
        task_names=("count",) * rows,
        input_ids=torch.arange(rows * width).reshape(rows, width) % 7 + 1,
        input_lengths=torch.full((rows,), width),
        prompt_lengths=torch.full((rows,), 2),
        generation_logprobs=generation_logprobs,
        rewards=torch.tensor(flat),
        truncated=torch.tensor(truncated) if truncated else torch.zeros(rows, dtype=torch.bool),
        scorer_failed=torch.zeros(rows, dtype=torch.bool),
        policy_step=torch.full((rows,), policy_step),
    )
