"""The logic domain: every Reasoning Gym data set as a Task.

Problems are generated on demand by ``reasoning_gym`` and scored by its own scorers, apart
from those that are broken in the pinned release (``logic_corrections``). Some scorers
evaluate model text or never return: those tasks ask for isolation.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping
from typing import Any

from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.tasks.logic_guard import UNSAFE_SCORERS
from prorl_nemo.tasks.logic_scoring import (
    AnswerFormat,
    LogicScorer,
    RewardMode,
    make_data_set,
)

# Generators that iterate over sets: their items change with PYTHONHASHSEED.
HASH_DEPENDENT = frozenset(
    {
        "codeio",
        "isomorphic_strings",
        "knight_swap",
        "polynomial_multiplication",
        "ransom_note",
        "word_ladder",
    }
)
# Never trained on in the paper; kept for the out-of-distribution table.
PAPER_HELD_OUT = ("acre", "boxnet", "game_of_life_halting")

ANSWER_INSTRUCTION = "Give your final answer between <answer> and </answer>."


class LogicTask:
    """One Reasoning Gym data set with a difficulty and a seed."""

    def __init__(
        self,
        name: str,
        dataset: str,
        *,
        seed: int,
        num_problems: int,
        dataset_config: Mapping[str, Any],
        answer_format: AnswerFormat = "answer_tag",
        stock_scorer: bool = False,
        reward_mode: RewardMode = "continuous",
    ) -> None:
        """``reward_mode="strict"`` gives 1 for full marks and 0 for less.

        Raises ValueError for an unknown data set or setting, naming it.
        """
        if dataset in HASH_DEPENDENT and os.environ.get("PYTHONHASHSEED", "random") == "random":
            raise ValueError(
                f"{name}: problems of {dataset} depend on Python's hash seed; "
                "set PYTHONHASHSEED=0 so that a resumed campaign sees the same ones"
            )
        try:
            self._dataset = make_data_set(
                dataset, seed=seed, size=num_problems, config=dataset_config
            )
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        self.name = name
        self.needs_isolation = dataset in UNSAFE_SCORERS
        self._seed = seed
        self._size = num_problems
        self._answer_format = answer_format
        self._scorer = LogicScorer(
            dataset,
            self._dataset,
            answer_format=answer_format,
            stock_scorer=stock_scorer,
            reward_mode=reward_mode,
        )

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Problem:
        if not 0 <= index < self._size:
            raise IndexError(index)
        # bf's compiler prints dots.
        with contextlib.redirect_stdout(io.StringIO()):
            entry = self._dataset[index]
        question = str(entry["question"])
        return Problem(
            problem_id=f"{self.name}/{self._seed}/{index}",
            task=self.name,
            prompt=question
            if self._answer_format == "whole_response"
            else f"{question}\n\n{ANSWER_INSTRUCTION}",
            answer=str(entry["answer"]),
            metadata={"entry": entry},
        )

    def score(self, problem: Problem, response: str) -> Score:
        """The data set's own score; a scorer that raises gives 0 and is counted."""
        entry: Any = problem.metadata["entry"]
        return self._scorer.score(entry, response)
