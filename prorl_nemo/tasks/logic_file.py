"""Logic problems from a file of `prorl data prepare`: many data sets in one task."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.tasks.logic_entry import decode_entry
from prorl_nemo.tasks.logic_guard import UNSAFE_SCORERS, check_entry
from prorl_nemo.tasks.logic_scoring import (
    LogicScorer,
    RewardMode,
    make_data_set,
)


class LogicFileTask:
    """Problems whose metadata holds ``dataset``, its settings ``config`` and ``entry``.

    The prompts ask for answer tags (`logic.ANSWER_INSTRUCTION`). ``reward_mode="strict"`` gives 1
    for full marks and 0 for less.
    """

    def __init__(
        self,
        name: str,
        problems: Sequence[Problem],
        *,
        stock_scorer: bool = False,
        reward_mode: RewardMode = "continuous",
    ) -> None:
        """ValueError, naming the problem, for one that no data set of Reasoning Gym made."""
        self.name = name
        self._problems = problems
        self._scorers: dict[str, LogicScorer] = {}
        datasets = set()
        for problem in problems:
            try:
                dataset, config = _made_by(problem)
                entry: Any = decode_entry(problem.metadata["entry"])
                key = _key(dataset, config)
                if key not in self._scorers:
                    data_set = make_data_set(dataset, seed=0, size=1, config=config)
                    self._scorers[key] = LogicScorer(
                        dataset, data_set, stock_scorer=stock_scorer, reward_mode=reward_mode
                    )
                check_entry(dataset, entry)
            except ValueError as error:
                raise ValueError(f"{name}: {problem.problem_id}: {error}") from error
            except KeyError as error:
                raise ValueError(f"{name}: {problem.problem_id}: no {error} in entry") from error
            datasets.add(dataset)
        self.needs_isolation = not UNSAFE_SCORERS.isdisjoint(datasets)

    def __len__(self) -> int:
        return len(self._problems)

    def __getitem__(self, index: int) -> Problem:
        return self._problems[index]

    def score(self, problem: Problem, response: str) -> Score:
        try:
            scorer = self._scorers[_key(*_made_by(problem))]
            entry: Any = decode_entry(problem.metadata["entry"])
        except (KeyError, ValueError):  # a problem that this task was not built with
            return Score(0.0, "unknown_problem")
        return scorer.score(entry, response)


def _made_by(problem: Problem) -> tuple[str, Mapping[str, Any]]:
    dataset, config = problem.metadata.get("dataset"), problem.metadata.get("config")
    entry = problem.metadata.get("entry")
    if not isinstance(dataset, str) or not isinstance(config, Mapping):
        raise ValueError("metadata must hold dataset, a name, and config, an object")
    if not isinstance(entry, Mapping):
        raise ValueError("metadata must hold entry, an object")
    return dataset, config


def _key(dataset: str, config: Mapping[str, Any]) -> str:
    return json.dumps([dataset, config], sort_keys=True)
