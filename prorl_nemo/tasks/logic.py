"""The logic domain: every Reasoning Gym data set as a Task.

Problems are generated on demand by ``reasoning_gym`` and scored by its own scorers, apart
from those that are broken in the pinned release (``logic_corrections``). Some scorers
evaluate model text or never return: those tasks ask for isolation.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.tasks.logic_corrections import CORRECTED_SCORERS

AnswerFormat = Literal["answer_tag", "whole_response"]
RewardMode = Literal["continuous", "strict"]

# Above 0.99, which some data sets give to an answer with one mistake.
FULL_MARKS = 1.0 - 1e-9

# Scorers that run eval or sympy.parse_expr on the response, or hang on 9**9**9**9.
UNSAFE_SCORERS = frozenset(
    {
        "binary_matrix",
        "countdown",
        "intermediate_integration",
        "n_queens",
        "polynomial_multiplication",
        "puzzle24",
        "simple_integration",
        "spiral_matrix",
        "string_insertion",
    }
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
        # Importing all generators takes a second; only users of this domain pay.
        import reasoning_gym
        from reasoning_gym.factory import DATASETS

        if dataset not in DATASETS:
            raise ValueError(f"{name}: reasoning_gym has no data set {dataset!r}")
        if dataset in HASH_DEPENDENT and os.environ.get("PYTHONHASHSEED", "random") == "random":
            raise ValueError(
                f"{name}: problems of {dataset} depend on Python's hash seed; "
                "set PYTHONHASHSEED=0 so that a resumed campaign sees the same ones"
            )
        try:
            self._dataset = reasoning_gym.create_dataset(
                dataset, seed=seed, size=num_problems, **dataset_config
            )
        except (TypeError, AssertionError, ValueError) as error:
            raise ValueError(f"{name}: {dataset} refuses its settings: {error}") from None
        self.name = name
        self.needs_isolation = dataset in UNSAFE_SCORERS
        self._seed = seed
        self._size = num_problems
        self._answer_format = answer_format
        self._reward_mode = reward_mode
        self._corrected = None if stock_scorer else CORRECTED_SCORERS.get(dataset)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Problem:
        if not 0 <= index < self._size:
            raise IndexError(index)
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
        answer = self._extract_answer(response)
        if answer is None:
            return Score(0.0)
        stock, corrected = self._dataset.score_answer, self._corrected
        try:
            reward = float(corrected(answer, entry, stock) if corrected else stock(answer, entry))
        except Exception:  # whatever a scorer throws at junk is no verdict
            return Score(0.0, failure="verifier_error")
        if not 0.0 <= reward <= 1.0:
            return Score(0.0, failure="verifier_error")
        is_strict = self._reward_mode == "strict"
        return Score(float(reward >= FULL_MARKS) if is_strict else reward)

    def _extract_answer(self, response: str) -> str | None:
        if self._answer_format == "whole_response":
            return response
        visible = response.rpartition("</think>")[2]
        before_close, close, _ = visible.rpartition("</answer>")
        _, opened, answer = before_close.rpartition("<answer>")
        return answer.strip() if close and opened else None
