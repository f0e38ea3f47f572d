"""Names of tasks and how to make them. A new domain is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prorl_nemo.config import TaskConfig
from prorl_nemo.tasks.base import Task
from prorl_nemo.tasks.logic import LogicTask

LOGIC_PREFIX = "reasoning_gym/"


def make_task(config: TaskConfig) -> Task:
    """The task that ``config`` describes; raises ValueError that names what is wrong with it."""
    if config.task.startswith(LOGIC_PREFIX):
        return _make_logic_task(config)
    domain, _, _ = config.task.partition("/")
    if domain not in DOMAINS:
        known = ", ".join([f"{LOGIC_PREFIX}<data set>", *sorted(DOMAINS)])
        raise ValueError(f"{config.name}: unknown task {config.task!r}; known: {known}")
    return DOMAINS[domain](config)


def make_tasks(configs: Sequence[TaskConfig]) -> list[Task]:
    """One task for each entry, in order."""
    return [make_task(config) for config in configs]


def _make_logic_task(config: TaskConfig) -> Task:
    params: dict[str, Any] = {"config": {}, "answer_format": "answer_tag", "stock_scorer": False, **config.params}
    dataset_config = params.pop("config")
    unknown = params.keys() - {"answer_format", "stock_scorer"}
    if unknown:
        raise ValueError(f"{config.name}: params.{sorted(unknown)[0]}: no such key")
    if params["answer_format"] not in ("answer_tag", "whole_response"):
        raise ValueError(f"{config.name}: params.answer_format: answer_tag or whole_response")
    return LogicTask(
        config.name,
        config.task.removeprefix(LOGIC_PREFIX),
        seed=config.seed,
        num_problems=config.num_problems,
        dataset_config=dict(dataset_config),
        **params,
    )


DOMAINS: Mapping[str, Callable[[TaskConfig], Task]] = {}
