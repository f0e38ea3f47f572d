r"""Whether an answer states the reference answer: two independent verifiers, either suffices.

`compare_exactly` reads notation and compares rationals; it can say no as well as yes, and
then its word is final: it knows plain numbers, bases and lists better than a symbolic
comparison in floating point does. What it does not understand goes to `symbolic_equality`.
"""

from __future__ import annotations

import re
from fractions import Fraction

from prorl_nemo.tasks.exact_numbers import (
    RELATIVE_TOLERANCE,
    numbers_agree,
    parse_based_number,
    parse_number,
)
from prorl_nemo.tasks.math_notation import (
    Elements,
    canonical_answer,
    split_elements,
    split_unit,
)
from prorl_nemo.tasks.point_evaluation import compare_at_points
from prorl_nemo.tasks.symbolic_equality import are_symbolically_equal

MAX_UNORDERED_ELEMENTS = 20
_ASSIGNMENT = re.compile(r"([A-Za-z]|\\[a-z]+)(?:_\{?[0-9A-Za-z]\}?)?(?:\([a-z]\))?(?:=|\\in)")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
# Two letters may be a product of variables; in \text they are a word.
_WORDS = re.compile(r"[A-Za-z]{3,}(?:[-'.][A-Za-z]+)*")
_TEXT_WORDS = re.compile(r"[A-Za-z]{2,}(?:[-'.][A-Za-z]+)*")


def answers_agree(
    reference: str, answer: str, *, relative_tolerance: Fraction = RELATIVE_TOLERANCE
) -> bool:
    """True if either verifier accepts ``answer`` (LaTeX, the content of a box).

    May take unbounded time on adversarial text: call it under a time limit.
    """
    verdict = compare_exactly(reference, answer, relative_tolerance=relative_tolerance)
    if verdict is not None:
        return verdict
    return compare_symbolically(reference, answer, relative_tolerance=relative_tolerance)


def compare_exactly(
    reference: str, answer: str, *, relative_tolerance: Fraction = RELATIVE_TOLERANCE
) -> bool | None:
    """The verdict of notation and rational arithmetic; None where it can't tell."""
    expected, found = _bare_value(reference), _bare_value(answer)
    if not expected or not found:
        return False
    if "=" not in expected or "=" not in found:
        # x = 5 and 5; but of two equations neither loses a side
        expected, found = _without_assignment(expected), _without_assignment(found)
    pattern = _TEXT_WORDS if "\\text" in reference else _WORDS
    if pattern.fullmatch(expected) and pattern.fullmatch(found):
        return expected.lower() == found.lower()
    return _compare_canonical(expected, found, relative_tolerance)


def compare_symbolically(reference: str, answer: str, *, relative_tolerance: Fraction) -> bool:
    """The second verifier's verdict on what the first could not tell."""
    return are_symbolically_equal(
        _symbolic_text(reference), _symbolic_text(answer), relative_tolerance=relative_tolerance
    )


def _symbolic_text(text: str) -> str:
    """``text`` as the symbolic parser reads it best: whole numbers without separators."""
    number = parse_number(_bare_value(text))
    if number is None or number.is_percent or number.value.denominator != 1:
        return text
    return str(number.value.numerator)


def _bare_value(text: str) -> str:
    value, _ = split_unit(text)
    return canonical_answer(value)


def _compare_canonical(expected: str, found: str, tolerance: Fraction) -> bool | None:
    if expected == found:
        return True
    expected_number, found_number = parse_number(expected), parse_number(found)
    if expected_number and found_number:
        return numbers_agree(expected_number, found_number, relative_tolerance=tolerance)
    if expected_number and expected_number.is_decimal and _DECIMAL_COMMA.fullmatch(found):
        return _compare_canonical(expected, found.replace(",", "."), tolerance)
    expected_based, found_based = parse_based_number(expected), parse_based_number(found)
    if expected_based and found_based:
        return expected_based == found_based
    if expected_based or found_based:
        return _compare_with_unstated_base(expected, found)
    expected_elements, found_elements = split_elements(expected), split_elements(found)
    if expected_elements and found_elements:
        return _compare_elements(expected_elements, found_elements, tolerance)
    if expected_elements or found_elements:
        return _compare_one_with_many(expected, found)
    if expected_number and expected_number.is_integer:
        tolerance = Fraction(0)
    return compare_at_points(expected, found, relative_tolerance=tolerance)


def _compare_with_unstated_base(expected: str, found: str) -> bool | None:
    """The question may have given the base: 203 states 203_5 if it has the same digits."""
    digits = [
        based[0] if (based := parse_based_number(text)) else text for text in (expected, found)
    ]
    return digits[0] == digits[1] if all(map(parse_number, digits)) else None


def _compare_one_with_many(expected: str, found: str) -> bool | None:
    """A number never equals a list of several numbers, whatever it lists."""
    elements = split_elements(expected) or split_elements(found)
    assert elements is not None
    is_number = parse_number(expected) or parse_number(found)
    if is_number and len(elements.members) > 1 and all(map(parse_number, elements.members)):
        return False
    return None


def _compare_elements(expected: Elements, found: Elements, tolerance: Fraction) -> bool | None:
    if expected.opening and found.opening:
        same_brackets = (expected.opening, expected.closing) == (found.opening, found.closing)
        if not same_brackets:
            return False if expected.is_ordered and found.is_ordered else None
    if len(expected.members) != len(found.members):
        numeric = all(map(parse_number, (*expected.members, *found.members)))
        return False if numeric else None
    if expected.is_ordered or found.is_ordered:
        pairs = zip(expected.members, found.members, strict=True)
        return _all_agree([_compare_canonical(a, b, tolerance) for a, b in pairs])
    return _compare_unordered(expected, found, tolerance)


def _compare_unordered(expected: Elements, found: Elements, tolerance: Fraction) -> bool | None:
    """Matches each expected member with one found member; a list too long is left undecided."""
    if len(expected.members) > MAX_UNORDERED_ELEMENTS:
        return None
    remaining = list(found.members)
    is_decided = True
    for member in expected.members:
        verdicts = [_compare_canonical(member, other, tolerance) for other in remaining]
        if True in verdicts:
            del remaining[verdicts.index(True)]
        else:
            is_decided = is_decided and None not in verdicts
    if not remaining:
        return True
    return False if is_decided else None


def _all_agree(verdicts: list[bool | None]) -> bool | None:
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _without_assignment(text: str) -> str:
    match = _ASSIGNMENT.match(text)
    return text[match.end() :] if match else text
