"""Prompts into NeMo-RL's rollouts, and rollouts out as our batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from nemo_rl.distributed.batched_data_dict import BatchedDataDict
from nemo_rl.experience.rollouts import run_async_multi_turn_rollout, run_multi_turn_rollout
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from prorl_nemo.engines.nemo.environment import ENVIRONMENT, ResponseId
from prorl_nemo.tasks.base import Problem
from prorl_nemo.types import PromptGroup, RolloutBatch, ValidationResult


@dataclass(frozen=True)
class PromptEncoder:
    """Problems as token ids, through the model's chat template."""

    tokenizer: Any
    max_prompt_tokens: int

    def encode(self, problem: Problem) -> Tensor:
        """Token ids, [P] int64; raises ValueError when the prompt leaves no room."""
        messages = [{"role": "user", "content": problem.prompt}]
        ids = self.tokenizer.apply_chat_template(
            messages, tokenize=True, add_generation_prompt=True, return_dict=False
        )
        if len(ids) > self.max_prompt_tokens:
            raise ValueError(
                f"policy.max_total_sequence_length: the prompt of {problem.problem_id} has "
                f"{len(ids)} tokens, {self.max_prompt_tokens} fit"
            )
        return torch.tensor(ids, dtype=torch.int64)


def make_datum(problem: Problem, ids: Tensor, response_id: ResponseId) -> dict[str, Any]:
    """NeMo-RL's DatumSpec of one response to be."""
    return {
        "message_log": [{"role": "user", "content": problem.prompt, "token_ids": ids}],
        "length": len(ids),
        "extra_env_info": {"problem": problem, "response_id": response_id},
        "loss_multiplier": 1.0,
        "idx": response_id.group_id,
        "task_name": ENVIRONMENT,
    }


def make_input_batch(
    prompts: Sequence[PromptGroup], encoder: PromptEncoder, *, num_samples: int
) -> Any:
    """A BatchedDataDict with ``num_samples`` rows for each prompt, whole groups in order."""
    rows = [
        make_datum(group.problem, ids, ResponseId(group.group_id, sample))
        for group, ids in ((group, encoder.encode(group.problem)) for group in prompts)
        for sample in range(num_samples)
    ]
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    columns["length"] = torch.tensor(columns["length"])
    columns["loss_multiplier"] = torch.tensor(columns["loss_multiplier"])
    return BatchedDataDict(columns)


def run_rollout(
    batch: Any,
    *,
    policy_generation: Any,
    environment: Any,
    tokenizer: Any,
    max_total_sequence_length: int,
    is_async: bool,
) -> tuple[Any, dict[str, Any]]:
    """NeMo-RL's own rollout of one turn: the finished batch and its metrics."""
    run: Callable[..., tuple[Any, dict[str, Any]]] = (
        run_async_multi_turn_rollout if is_async else run_multi_turn_rollout
    )
    return run(
        policy_generation=policy_generation,
        input_batch=batch,
        tokenizer=tokenizer,
        task_to_env={ENVIRONMENT: environment},
        max_seq_len=max_total_sequence_length,
        max_rollout_turns=1,
        greedy=False,
    )


def read_rollout_batch(
    finished: Any, failures: Mapping[ResponseId, str], *, step: int
) -> RolloutBatch:
    """What NeMo-RL's rollout returned; raises RuntimeError when a response was lost there."""
    infos = finished["extra_env_info"]
    prompts = [log[0]["token_ids"] for log in finished["message_log"]]
    responses = [_response(log) for log in finished["message_log"]]
    ids = [
        torch.cat([prompt, response["token_ids"]])
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    logprobs = [
        torch.cat([torch.zeros(len(prompt)), response["generation_logprobs"]])
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    return RolloutBatch(
        group_ids=torch.tensor([info["response_id"].group_id for info in infos]),
        task_names=tuple(info["problem"].task for info in infos),
        input_ids=pad_sequence(ids, batch_first=True),
        input_lengths=torch.tensor([len(row) for row in ids]),
        prompt_lengths=torch.tensor([len(prompt) for prompt in prompts]),
        generation_logprobs=pad_sequence(logprobs, batch_first=True),
        rewards=finished["total_reward"].float(),
        truncated=torch.as_tensor(finished["truncated"]).bool(),
        scorer_failed=torch.tensor([info["response_id"] in failures for info in infos]),
        policy_step=torch.full((len(infos),), step, dtype=torch.int64),
    )


def summarize_validation(batch: RolloutBatch, *, num_samples: int) -> ValidationResult:
    """Mean reward per task; every task counts the same in the score."""
    rewards: dict[str, list[float]] = {}
    for name, reward in zip(batch.task_names, batch.rewards.tolist(), strict=True):
        rewards.setdefault(name, []).append(reward)
    scores = tuple((name, sum(values) / len(values)) for name, values in rewards.items())
    return ValidationResult(
        score=sum(score for _, score in scores) / len(scores),
        task_scores=scores,
        num_problems=len(batch) // num_samples,
        num_samples=num_samples,
        response_length_mean=float(batch.response_lengths.double().mean()),
        truncated_rate=float(batch.truncated.double().mean()),
    )


def _response(message_log: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The sampled message. NeMo-RL's asynchronous rollout prints a failed one and goes on."""
    for message in message_log[1:]:
        if message["role"] == "assistant" and "generation_logprobs" in message:
            return message
    raise RuntimeError("generation returned no response for a prompt; see the workers' logs")
