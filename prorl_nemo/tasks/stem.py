"""Science questions: a choice letter, a quantity with its unit, or a short expression.

The boxed answer is compared as in mathematics, with two rules of its own: a choice is one
letter and nothing else, and where both sides state a unit the units must match.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.tasks.exact_numbers import numbers_agree, parse_number
from prorl_nemo.tasks.final_answer import text_after_reasoning
from prorl_nemo.tasks.math import (
    DEFAULT_TIME_LIMIT_SECONDS,
    answer_candidates,
    score_candidates,
)
from prorl_nemo.tasks.math_notation import canonical_answer, split_unit, unwrap_text_commands
from prorl_nemo.tasks.optional_library import require_optional
from prorl_nemo.tasks.symbolic_equality import load_verifier
from prorl_nemo.tasks.units import is_known_unit, parse_unit

DEFAULT_RELATIVE_TOLERANCE = Fraction(1, 1000)
"""Our choice, for measured decimals; the paper prints none. Integers are met exactly."""

_CHOICE = re.compile(r"(?:(?:option|choice|answer)\s*:?\s*)?\(?([A-J])\)?\.?", re.IGNORECASE)
_CHOICE_WITH_TEXT = re.compile(r"\(?([A-J])(?:\)|[.:])\s*\S.*", re.DOTALL)
_ANOTHER_CHOICE = re.compile(r"(?<![A-Za-z0-9])\(?[A-J](?:\)|[.:])\s|\b(?:or|and)\s+\(?[A-J]\b")
_FORMULA = re.compile(r"(?:[A-Z][a-z]?[0-9]*|[()])+")
_LEADING_NUMBER = re.compile(
    r"[+-]?(?:\\frac\{[0-9]+\}\{[0-9]+\}|[0-9][0-9,]*(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+)"
    r"(?:\s*(?:\\times|\\cdot|[×*])\s*10\s*\^(?:\{[+-]?[0-9]+\}|[+-]?[0-9]+))?"
)


class StemTask:
    """Problems whose ``answer`` is a letter, a quantity or an expression; the reward is 0 or 1.

    A problem may carry ``metadata["choices"]``, letter to text: the text of the right choice
    is then accepted for its letter.
    """

    needs_isolation = True

    def __init__(
        self,
        name: str,
        problems: Sequence[Problem],
        *,
        relative_tolerance: Fraction = DEFAULT_RELATIVE_TOLERANCE,
        time_limit_seconds: float = DEFAULT_TIME_LIMIT_SECONDS,
    ) -> None:
        require_optional("math_verify")
        self.name = name
        self._problems = problems
        self._relative_tolerance = relative_tolerance
        self._time_limit_seconds = time_limit_seconds

    def load_verifier(self) -> None:
        load_verifier()

    def __len__(self) -> int:
        return len(self._problems)

    def __getitem__(self, index: int) -> Problem:
        return self._problems[index]

    def score(self, problem: Problem, response: str) -> Score:
        text = text_after_reasoning(response)
        if text is None:
            return Score(0.0, "truncated_reasoning")
        candidates = answer_candidates(text, problem.answer)
        if not candidates:
            return Score(0.0)
        letter = parse_choice(problem.answer)
        if letter is not None:
            return Score(float(_is_choice(letter, candidates[0], problem.metadata)))
        verdict = compare_quantities(
            problem.answer, candidates[0], relative_tolerance=self._relative_tolerance
        )
        if verdict is None and _are_same_formula(problem.answer, candidates[0]):
            verdict = True
        if verdict is not None:
            return Score(float(verdict))
        return score_candidates(
            split_quantity(problem.answer)[0],
            [split_quantity(candidate)[0] for candidate in candidates],
            relative_tolerance=self._relative_tolerance,
            time_limit_seconds=self._time_limit_seconds,
        )


def parse_choice(text: str) -> str | None:
    """The letter A to J that ``text`` is: "(B)", "Option B" or "B. text". None for several."""
    plain = re.sub(r"\s+", " ", unwrap_text_commands(text).strip().strip("$").strip())
    if match := _CHOICE.fullmatch(plain):
        return match[1].upper()
    match = _CHOICE_WITH_TEXT.fullmatch(plain)
    if match is None or _ANOTHER_CHOICE.search(plain, match.end(1) + 1):
        return None
    return match[1].upper()


def compare_quantities(reference: str, answer: str, *, relative_tolerance: Fraction) -> bool | None:
    """The verdict where both sides have a unit; None where one has none, or values aren't plain."""
    expected_text, expected_unit_text = split_quantity(reference)
    found_text, found_unit_text = split_quantity(answer)
    expected_unit, found_unit = parse_unit(expected_unit_text), parse_unit(found_unit_text)
    if expected_unit is None or found_unit is None:
        return None
    if expected_unit.dimension != found_unit.dimension:
        return False
    expected = parse_number(canonical_answer(expected_text))
    found = parse_number(canonical_answer(found_text))
    ratio = found_unit.scale / expected_unit.scale
    if expected is None or found is None:
        return None if ratio == 1 else False
    found = replace(found, value=found.value * ratio)
    return numbers_agree(expected, found, relative_tolerance=relative_tolerance)


def split_quantity(text: str) -> tuple[str, str]:
    r"""A value and its unit, written ``5\text{ km}`` or, for units of the table, ``5 km``."""
    text = text.strip().strip("$").strip()
    match = _LEADING_NUMBER.match(text)
    if match is not None and is_known_unit(text[match.end() :]):
        return match[0], text[match.end() :]
    return split_unit(text)


def _is_choice(letter: str, answer: str, metadata: Mapping[str, object]) -> bool:
    if parse_choice(answer) == letter:
        return True
    choices = metadata.get("choices")
    text = choices.get(letter) if isinstance(choices, Mapping) else None
    return isinstance(text, str) and canonical_answer(text) == canonical_answer(answer)


def _are_same_formula(reference: str, answer: str) -> bool:
    """H2O and H_2O, which in mathematics would be a product and an indexed variable."""
    expected, found = (re.sub(r"[_{}]", "", canonical_answer(text)) for text in (reference, answer))
    return expected == found and _FORMULA.fullmatch(expected) is not None
