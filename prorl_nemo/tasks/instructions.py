"""Instruction following: verifiable constraints on what follows the reasoning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.tasks.constraints import Constraint, make_constraint
from prorl_nemo.tasks.final_answer import text_after_reasoning
from prorl_nemo.tasks.natural_language import load_libraries
from prorl_nemo.tasks.optional_library import require_optional

MAX_TEXT_CHARS = 200_000
"""More than the longest response of the recipe: 16k tokens are about 80k characters."""

RewardMode = Literal["fraction", "strict"]


class InstructionTask:
    """Problems whose metadata holds ``instruction_id_list`` and ``kwargs``, as IFEval has them.

    The reward is the fraction of constraints that the response follows (the paper's
    continuous reward, arXiv 2505.24864), or with ``reward_mode="strict"`` 1 only for all.
    """

    # No check evaluates text and none hangs, but NLTK takes seconds over the worst of it.
    needs_isolation = True

    def __init__(
        self, name: str, problems: Sequence[Problem], *, reward_mode: RewardMode = "fraction"
    ) -> None:
        """ValueError, naming the problem, if a constraint of one can't be checked."""
        require_optional("nltk", "langdetect")
        self.name = name
        self._problems = problems
        self._reward_mode = reward_mode
        self._constraints = {problem.problem_id: parse_constraints(problem) for problem in problems}

    def load_verifier(self) -> None:
        load_libraries()

    def __len__(self) -> int:
        return len(self._problems)

    def __getitem__(self, index: int) -> Problem:
        return self._problems[index]

    def score(self, problem: Problem, response: str) -> Score:
        try:
            constraints = self._constraints.get(problem.problem_id) or parse_constraints(problem)
        except ValueError:  # a problem that this task was not built with
            return Score(0.0, "invalid_constraints")
        text = text_after_reasoning(response)
        if text is None:
            return Score(0.0, "truncated_reasoning")
        if len(text) > MAX_TEXT_CHARS:
            return Score(0.0, "response_too_long")
        try:
            num_followed = sum(constraint.is_followed(text) for constraint in constraints)
        except Exception:  # NLTK and langdetect promise nothing about text like this
            return Score(0.0, "verifier_error")
        if self._reward_mode == "strict":
            return Score(float(num_followed == len(constraints)))
        return Score(num_followed / len(constraints))


def parse_constraints(problem: Problem) -> tuple[Constraint, ...]:
    """The constraints of ``problem``; ValueError, naming the problem, if they don't make sense."""
    ids = problem.metadata.get("instruction_id_list")
    arguments = problem.metadata.get("kwargs")
    if not isinstance(ids, Sequence) or not isinstance(arguments, Sequence) or not ids:
        raise ValueError(f"{problem.problem_id}: needs the lists instruction_id_list and kwargs")
    if len(ids) != len(arguments):
        raise ValueError(
            f"{problem.problem_id}: {len(ids)} instruction ids but {len(arguments)} kwargs"
        )
    try:
        return tuple(
            make_constraint(str(constraint_id), _as_mapping(given))
            for constraint_id, given in zip(ids, arguments, strict=True)
        )
    except ValueError as error:
        raise ValueError(f"{problem.problem_id}: {error}") from error


def _as_mapping(value: object) -> Mapping[str, object] | None:
    if value is not None and not isinstance(value, Mapping):
        raise ValueError(f"kwargs must hold objects, found {value!r}")
    return value
