"""A NeMo-RL environment that rewards the responses of any of our tasks.

One Ray actor holds the tasks and a pool of scoring processes. A response is named by its group
id and its place in the group, from the prompt to the loss; NeMo-RL's own environments form
groups by comparing prompt tokens. Not here: prompts, and what rewards are used for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
import torch
from nemo_rl.environments.interfaces import EnvironmentInterface, EnvironmentReturn

from prorl_nemo.config import TaskConfig
from prorl_nemo.tasks.base import Problem, Task
from prorl_nemo.tasks.registry import make_task
from prorl_nemo.tasks.reward_pool import RewardPool

ENVIRONMENT = "prorl"  # NeMo-RL's task_name of every prompt
# Calls that wait in the actor at once: asynchronous rollouts send one per response.
MAX_CONCURRENCY = 256


@dataclass(frozen=True)
class ResponseId:
    """The ``sample``-th response to the prompt of group ``group_id``."""

    group_id: int
    sample: int


class TaskEnvironment(EnvironmentInterface):  # type: ignore[misc]  # nemo_rl has no stubs
    """Scores responses of ``tasks``; ``start_environment`` makes it a Ray actor."""

    def __init__(self, tasks: Sequence[Task], *, num_workers: int, timeout_seconds: float) -> None:
        self._pool = RewardPool(tasks, num_workers=num_workers, timeout_seconds=timeout_seconds)
        self._failures: dict[ResponseId, str] = {}

    def step(
        self, message_log_batch: list[list[dict[str, Any]]], metadata: list[Mapping[str, Any]]
    ) -> EnvironmentReturn:
        """Reward the last message of each log; every episode ends with it.

        Raises SandboxError or RewardPoolError when the machine is at fault, not a response.
        """
        problems: list[Problem] = [info["problem"] for info in metadata]
        responses = [str(log[-1]["content"]) for log in message_log_batch]
        scores = self._pool.score_all(list(zip(problems, responses, strict=True)))
        for info, score in zip(metadata, scores, strict=True):
            if score.failure is not None:
                self._failures[info["response_id"]] = score.failure
        count = len(scores)
        return EnvironmentReturn(
            observations=[{"role": "environment", "content": ""}] * count,
            metadata=[None] * count,
            next_stop_strings=[None] * count,
            rewards=torch.tensor([score.reward for score in scores], dtype=torch.float32),
            terminateds=torch.ones(count, dtype=torch.bool),
            answers=None,
        )

    def take_failures(self) -> dict[ResponseId, str]:
        """Responses without a verdict since the last call, and why."""
        failures, self._failures = self._failures, {}
        return failures

    def global_post_process_and_metrics(self, batch: Any) -> tuple[Any, dict[str, float]]:
        """NeMo-RL's hook behind a rollout: the mean reward by task."""
        rewards: dict[str, list[float]] = {}
        for info, reward in zip(batch["extra_env_info"], batch["total_reward"], strict=True):
            rewards.setdefault(info["problem"].task, []).append(float(reward))
        return batch, {
            f"prorl/reward/{name}": sum(values) / len(values) for name, values in rewards.items()
        }

    def shutdown(self) -> bool:
        """End the scoring processes."""
        self._pool.close()
        return True


class ConfiguredTaskEnvironment(TaskEnvironment):
    """Makes its tasks where it runs: problem files are read there, not sent there."""

    def __init__(
        self, configs: Sequence[TaskConfig], *, num_workers: int, timeout_seconds: float
    ) -> None:
        by_name = {config.name: config for config in configs}
        tasks = [make_task(config) for config in by_name.values()]
        super().__init__(tasks, num_workers=num_workers, timeout_seconds=timeout_seconds)


def start_environment(
    configs: Sequence[TaskConfig], *, num_workers: int, timeout_seconds: float
) -> Any:
    """A Ray actor that rewards the tasks of ``configs``; the last entry of a name counts.

    Raises ray.exceptions.RayActorError, naming the task, at first use if a task can't be made.
    """
    actor = ray.remote(ConfiguredTaskEnvironment).options(max_concurrency=MAX_CONCURRENCY)
    return actor.remote(configs, num_workers=num_workers, timeout_seconds=timeout_seconds)
