"""The tasks of a campaign: the training mixture, the held-out problems, and who scores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prorl_nemo.config import TaskConfig
from prorl_nemo.config_campaign import Config
from prorl_nemo.data.prompt_stream import WeightedTask
from prorl_nemo.tasks.base import Problem, Task
from prorl_nemo.tasks.registry import make_task, make_tasks
from prorl_nemo.tasks.reward_pool import RewardPool


@dataclass(frozen=True)
class CampaignTasks:
    """``held_out_prompts`` are those of validation and evaluation: training passes them over."""

    train: tuple[WeightedTask, ...]
    validation_problems: tuple[Problem, ...]
    held_out_prompts: frozenset[str]
    scorers: Mapping[str, Task]  # by task name


def make_campaign_tasks(config: Config) -> CampaignTasks:
    """Build every task of the configuration; raises ValueError that names the faulty one."""
    prorl = config.prorl
    train = make_tasks(prorl.train_tasks)
    validation = make_tasks(prorl.validation.tasks)
    evaluation = make_tasks(prorl.evaluation.tasks)
    return CampaignTasks(
        train=tuple(
            WeightedTask(task, entry.weight)
            for task, entry in zip(train, prorl.train_tasks, strict=True)
        ),
        validation_problems=tuple(problem for task in validation for problem in problems_of(task)),
        held_out_prompts=frozenset(
            problem.prompt for task in (*validation, *evaluation) for problem in problems_of(task)
        ),
        scorers={task.name: task for task in (*evaluation, *validation, *train)},
    )


def make_warm_start_tasks(config: Config) -> tuple[WeightedTask, ...]:
    """The worked examples of the tiny model."""
    tasks = config.prorl.tiny_model.warm_start.tasks
    return tuple(WeightedTask(make_task(entry), entry.weight) for entry in tasks)


def problems_of(task: Task) -> list[Problem]:
    """All problems of a task, in order."""
    return [task[index] for index in range(len(task))]


def make_reward_pool(config: Config, tasks: Sequence[Task]) -> RewardPool:
    """The pool that scores ``tasks``; use it as a context manager."""
    rewards = config.prorl.rewards
    return RewardPool(
        tasks, num_workers=rewards.num_workers, timeout_seconds=rewards.timeout_seconds
    )


def check_names_agree(*lists: Sequence[TaskConfig]) -> None:
    """A name stands for one task and one difficulty throughout; raises ValueError otherwise."""
    seen: dict[str, TaskConfig] = {}
    for entry in (entry for entries in lists for entry in entries):
        first = seen.setdefault(entry.name, entry)
        if (first.task, first.params) != (entry.task, entry.params):
            raise ValueError(f"{entry.name}: this name stands for two different tasks")
