"""Sampled and scored responses as batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from prorl_nemo.engines.local.generate import Response
from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.types import PromptGroup, RolloutBatch, ValidationResult


def make_rollout_batch(
    prompts: Sequence[PromptGroup],
    *,
    token_ids: Sequence[Sequence[int]],
    responses: Sequence[Sequence[Response]],
    scores: Sequence[Score],
    step: int,
) -> RolloutBatch:
    """Lay prompts and responses side by side, right-padded with 0."""
    rows = [
        (group, ids, response)
        for group, ids, samples in zip(prompts, token_ids, responses, strict=True)
        for response in samples
    ]
    prompt_lengths = torch.tensor([len(ids) for _, ids, _ in rows])
    input_lengths = torch.tensor([len(ids) + len(r.tokens) for _, ids, r in rows])
    width = int(input_lengths.max())
    padding = [width - length for length in input_lengths.tolist()]
    input_ids = [
        [*ids, *response.tokens, *[0] * missing]
        for (_, ids, response), missing in zip(rows, padding, strict=True)
    ]
    generation_logprobs = [
        [*[0.0] * len(ids), *response.logprobs, *[0.0] * missing]
        for (_, ids, response), missing in zip(rows, padding, strict=True)
    ]
    return RolloutBatch(
        group_ids=torch.tensor([group.group_id for group, _, _ in rows]),
        task_names=tuple(group.problem.task for group, _, _ in rows),
        input_ids=torch.tensor(input_ids),
        input_lengths=input_lengths,
        prompt_lengths=prompt_lengths,
        generation_logprobs=torch.tensor(generation_logprobs),
        rewards=torch.tensor([score.reward for score in scores]),
        truncated=torch.tensor([response.truncated for _, _, response in rows]),
        scorer_failed=torch.tensor([score.failure is not None for score in scores]),
        policy_step=torch.full((len(rows),), step, dtype=torch.int64),
    )


def summarize_validation(
    problems: Sequence[Problem],
    responses: Sequence[Sequence[Response]],
    scores: Sequence[Score],
) -> ValidationResult:
    """Mean reward per task; every task counts the same in the score."""
    rewards: dict[str, list[float]] = {}
    flat = [response for group in responses for response in group]
    names = [
        problem.task for problem, group in zip(problems, responses, strict=True) for _ in group
    ]
    for name, score in zip(names, scores, strict=True):
        rewards.setdefault(name, []).append(score.reward)
    task_scores = tuple((name, sum(values) / len(values)) for name, values in rewards.items())
    return ValidationResult(
        score=sum(score for _, score in task_scores) / len(task_scores),
        task_scores=task_scores,
        num_problems=len(problems),
        num_samples=len(flat) // len(problems),
        response_length_mean=sum(len(response.tokens) for response in flat) / len(flat),
        truncated_rate=sum(response.truncated for response in flat) / len(flat),
    )
