"""Names of tasks and how to make them. A new domain is one file and one line in DOMAINS.

``task: reasoning_gym/<data set>`` takes ``params`` config (settings of the data set),
answer_format (answer_tag or whole_response), reward_mode (continuous or strict) and
stock_scorer. The other domains read their problems from ``params.path``, a JSONL or parquet file
that ``prorl data prepare`` writes; ``instructions`` also takes reward_mode (fraction or strict),
``logic`` reward_mode and stock_scorer as above.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prorl_nemo.config import TaskConfig
from prorl_nemo.data.problem_files import load_problems
from prorl_nemo.tasks.base import Problem, Task
from prorl_nemo.tasks.code import CodeTask
from prorl_nemo.tasks.instructions import InstructionTask
from prorl_nemo.tasks.logic import LogicTask
from prorl_nemo.tasks.logic_file import LogicFileTask
from prorl_nemo.tasks.logic_scoring import category_of
from prorl_nemo.tasks.math import MathTask
from prorl_nemo.tasks.stem import StemTask

LOGIC_PREFIX = "reasoning_gym/"


def make_task(config: TaskConfig) -> Task:
    """The task that ``config`` describes; raises ValueError that names what is wrong with it."""
    if config.task.startswith(LOGIC_PREFIX):
        return _make_logic_task(config)
    if config.task not in DOMAINS:
        known = ", ".join([f"{LOGIC_PREFIX}<data set>", *sorted(DOMAINS)])
        raise ValueError(f"{config.name}: unknown task {config.task!r}; known: {known}")
    return DOMAINS[config.task](config)


def make_tasks(configs: Sequence[TaskConfig]) -> list[Task]:
    """One task for each entry, in order."""
    return [make_task(config) for config in configs]


def _make_logic_task(config: TaskConfig) -> Task:
    params = _take_params(
        config,
        config={},
        answer_format="answer_tag",
        stock_scorer=False,
        reward_mode="continuous",
    )
    _require_choice(config, params, "answer_format", ("answer_tag", "whole_response"))
    _require_choice(config, params, "reward_mode", ("continuous", "strict"))
    if config.num_problems is None:
        raise ValueError(f"{config.name}: num_problems: Reasoning Gym needs a number")
    return LogicTask(
        config.name,
        config.task.removeprefix(LOGIC_PREFIX),
        seed=config.seed,
        num_problems=config.num_problems,
        dataset_config=dict(params["config"]),
        answer_format=params["answer_format"],
        stock_scorer=bool(params["stock_scorer"]),
        reward_mode=params["reward_mode"],
    )


def _make_logic_file_task(config: TaskConfig) -> Task:
    params = _take_params(
        config, path=None, category=None, stock_scorer=False, reward_mode="continuous"
    )
    _require_choice(config, params, "reward_mode", ("continuous", "strict"))
    return LogicFileTask(
        config.name,
        _of_category(config, _read_problems(config, params), params["category"]),
        stock_scorer=bool(params["stock_scorer"]),
        reward_mode=params["reward_mode"],
    )


def _of_category(config: TaskConfig, problems: list[Problem], name: str | None) -> list[Problem]:
    if name is None:
        return problems
    chosen = [p for p in problems if category_of(str(p.metadata.get("dataset"))) == name]
    if not chosen:
        raise ValueError(f"{config.name}: params.category: no problem of {name!r}")
    return chosen


def _make_math_task(config: TaskConfig) -> Task:
    return MathTask(config.name, _read_problems(config, _take_params(config, path=None)))


def _make_stem_task(config: TaskConfig) -> Task:
    return StemTask(config.name, _read_problems(config, _take_params(config, path=None)))


def _make_code_task(config: TaskConfig) -> Task:
    return CodeTask(config.name, _read_problems(config, _take_params(config, path=None)))


def _make_instruction_task(config: TaskConfig) -> Task:
    params = _take_params(config, path=None, reward_mode="fraction")
    _require_choice(config, params, "reward_mode", ("fraction", "strict"))
    problems = _read_problems(config, params)
    return InstructionTask(config.name, problems, reward_mode=params["reward_mode"])


def _read_problems(config: TaskConfig, params: Mapping[str, Any]) -> list[Problem]:
    if not isinstance(params["path"], str):
        raise ValueError(f"{config.name}: params.path: a file of problems is needed")
    problems = load_problems(Path(params["path"]).expanduser(), task=config.name)
    count = config.num_problems
    if count is None or count == len(problems):
        return problems
    if count > len(problems):
        raise ValueError(
            f"{config.name}: num_problems: {count}, but {params['path']} holds {len(problems)}"
        )
    return random.Random(config.seed).sample(problems, count)


def _take_params(entry: TaskConfig, /, **defaults: Any) -> dict[str, Any]:
    if unknown := sorted(entry.params.keys() - defaults.keys()):
        raise ValueError(f"{entry.name}: params.{unknown[0]}: no such key")
    return {**defaults, **entry.params}


def _require_choice(
    entry: TaskConfig, params: Mapping[str, Any], key: str, choices: tuple[str, str]
) -> None:
    if params[key] not in choices:
        raise ValueError(f"{entry.name}: params.{key}: {' or '.join(choices)}")


def register_domain(name: str, make: Callable[[TaskConfig], Task]) -> None:
    """Make ``task: name`` known to configurations; raises ValueError if it is already."""
    if name in DOMAINS:
        raise ValueError(f"a task named {name!r} is registered already")
    DOMAINS[name] = make


DOMAINS: dict[str, Callable[[TaskConfig], Task]] = {
    "code": _make_code_task,
    "instructions": _make_instruction_task,
    "logic": _make_logic_file_task,
    "math": _make_math_task,
    "stem": _make_stem_task,
}
