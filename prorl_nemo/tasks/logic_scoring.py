"""How a Reasoning Gym data set scores a response, for problems made in place or read from files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from prorl_nemo.tasks.base import Score
from prorl_nemo.tasks.logic_corrections import CORRECTED_SCORERS
from prorl_nemo.tasks.logic_guard import UNSAFE_SCORERS, is_listed, may_be_evaluated

AnswerFormat = Literal["answer_tag", "whole_response"]
RewardMode = Literal["continuous", "strict"]

# Above 0.99, which some data sets give to an answer with one mistake.
FULL_MARKS = 1.0 - 1e-9
# Five times the longest answer that the data sets give as their own, at their default sizes.
MAX_ANSWER_CHARACTERS = 20_000


def make_data_set(name: str, *, seed: int, size: int, config: Mapping[str, Any]) -> Any:
    """Reasoning Gym's data set; ValueError for an unknown one or settings that it refuses."""
    # Importing all generators takes seconds; only users of this domain pay.
    from reasoning_gym.factory import DATASETS, create_dataset

    if name not in DATASETS:
        raise ValueError(f"reasoning_gym has no data set {name!r}")
    try:
        return create_dataset(name, seed=seed, size=size, **config)
    except (TypeError, AssertionError, ValueError) as error:
        raise ValueError(f"{name} refuses its settings: {error}") from None


def category_of(name: str) -> str | None:
    """Reasoning Gym's group of a data set ("algebra", "games"), None for an unknown one."""
    from reasoning_gym.factory import DATASETS

    return DATASETS[name][0].__module__.split(".")[1] if name in DATASETS else None


class LogicScorer:
    """The scorer of one data set: its own, or a correction where that is broken."""

    def __init__(
        self,
        dataset: str,
        data_set: Any,
        *,
        answer_format: AnswerFormat = "answer_tag",
        stock_scorer: bool = False,
        reward_mode: RewardMode = "continuous",
    ) -> None:
        self._dataset = dataset
        self._data_set = data_set
        self._corrected = None if stock_scorer else CORRECTED_SCORERS.get(dataset)
        self._answer_format = answer_format
        self._reward_mode = reward_mode

    def score(self, entry: dict[str, Any], response: str) -> Score:
        """The score of ``response`` to ``entry``; a scorer that raises gives 0 and is counted."""
        answer = self._extract_answer(response)
        if answer is None:
            return Score(0.0)
        if len(answer) > MAX_ANSWER_CHARACTERS:
            return Score(0.0, failure="response_too_long")
        corrected = self._corrected
        try:
            reward = float(
                corrected(answer, entry, self._stock_score)
                if corrected
                else self._stock_score(answer, entry)
            )
        except Exception:  # whatever a scorer throws at junk is no verdict
            return Score(0.0, failure="verifier_error")
        if not 0.0 <= reward <= 1.0:
            return Score(0.0, failure="verifier_error")
        is_strict = self._reward_mode == "strict"
        return Score(float(reward >= FULL_MARKS) if is_strict else reward)

    def _stock_score(self, answer: str, entry: dict[str, Any]) -> float:
        """Reasoning Gym's score, or what it gives an empty answer to one too risky to evaluate."""
        if self._dataset in UNSAFE_SCORERS and not may_be_evaluated(self._dataset, answer, entry):
            answer = answer if is_listed(answer, entry) else ""
        return float(self._data_set.score_answer(answer, entry))

    def _extract_answer(self, response: str) -> str | None:
        if self._answer_format == "whole_response":
            return response
        visible = response.rpartition("</think>")[2]
        before_close, close, _ = visible.rpartition("</answer>")
        _, opened, answer = before_close.rpartition("<answer>")
        return answer.strip() if close and opened else None
