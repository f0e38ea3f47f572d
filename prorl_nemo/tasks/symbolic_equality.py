r"""Symbolic equality of two LaTeX answers through math-verify, with its known leaks closed.

math-verify parses (a grammar; no text is evaluated) and compares structure. It compares
numbers after rounding to six decimals, which makes all tiny numbers equal, so numbers are
compared here instead, relative to their size, and every other yes is checked once more at
a sample point.
"""

from __future__ import annotations

import logging
from fractions import Fraction
from functools import lru_cache
from types import ModuleType
from typing import Any

from prorl_nemo.tasks.optional_library import import_optional

FLOAT_DECIMALS = 6
EXACT_DIGITS = 30
WORKING_DIGITS = 45
MAX_MEMBERS = 50


def are_symbolically_equal(reference: str, answer: str, *, relative_tolerance: Fraction) -> bool:
    """True if both parse and state the same value, set, relation or expression.

    No time limit of its own: math-verify's are signal alarms that fail off the main thread.
    ValueError if math-verify is not installed.
    """
    expected, found = parse_latex(reference), parse_latex(answer)
    if expected is None or found is None:
        return False
    return _agree(expected, found, float(relative_tolerance))


@lru_cache(maxsize=4_096)
def parse_latex(text: str) -> Any | None:
    """The SymPy object that boxed ``text`` denotes, or None where it does not parse."""
    math_verify = _import_math_verify()
    config = [math_verify.LatexExtractionConfig(boxed_match_priority=0)]
    parsed = math_verify.parse(
        f"\\boxed{{{text}}}", config, fallback_mode="no_fallback", parsing_timeout=None
    )
    return parsed[0] if parsed else None


@lru_cache(maxsize=1)
def load_verifier() -> None:
    """Imports the libraries and parses once: for before a clock starts.

    An import that an alarm interrupts leaves a library half loaded, which then reads nothing.
    """
    _import_sympy()
    parse_latex("1")


@lru_cache(maxsize=1)
def _import_math_verify() -> ModuleType:
    # It warns that its own time limits are off; `timed_equality` sets ours.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return import_optional("math_verify")


@lru_cache(maxsize=1)
def _import_sympy() -> ModuleType:
    # Deferred: it takes half a second, and comes with math-verify.
    return import_optional("sympy")


def _agree(expected: Any, found: Any, tolerance: float) -> bool:
    sympy = _import_sympy()
    if _is_number(expected) and _is_number(found):
        return _numbers_agree(expected, found, tolerance)
    pair = (expected, found)
    if all(isinstance(side, sympy.MatrixBase) for side in pair):
        same_shape = expected.shape == found.shape
        return same_shape and _all_agree(expected.flat(), found.flat(), tolerance)
    if all(isinstance(side, sympy.Tuple) for side in pair):
        return _all_agree(expected.args, found.args, tolerance)
    if all(isinstance(side, sympy.FiniteSet) for side in pair):
        return _sets_agree(list(expected.args), list(found.args), tolerance)
    if _are_of_different_kinds(expected, found) or not _verify(expected, found):
        return False
    if all(isinstance(side, sympy.Interval) for side in pair):
        ends = (expected.start, expected.end), (found.start, found.end)
        return _all_agree(*ends, tolerance)
    return _agree_at_a_point(expected, found, tolerance)


def _are_of_different_kinds(expected: Any, found: Any) -> bool:
    """A value against a set or tuple of several: quick to tell, slow for SymPy to compare."""
    sympy = _import_sympy()
    for one, other in ((expected, found), (found, expected)):
        is_many = isinstance(other, (sympy.Tuple, sympy.Set)) and len(other.args) != 1
        if isinstance(one, sympy.Expr) and not isinstance(one, sympy.Symbol) and is_many:
            return True
    return False


def _verify(expected: Any, found: Any) -> bool:
    math_verify = _import_math_verify()
    verdict: bool = math_verify.verify(
        expected, found, float_rounding=FLOAT_DECIMALS, timeout_seconds=None
    )
    return verdict


def _all_agree(expected: Any, found: Any, tolerance: float) -> bool:
    if len(expected) != len(found):
        return False
    return all(_agree(a, b, tolerance) for a, b in zip(expected, found, strict=True))


def _sets_agree(expected: list[Any], found: list[Any], tolerance: float) -> bool:
    if len(expected) != len(found) or len(expected) > MAX_MEMBERS:
        return False
    for member in expected:
        matching = (i for i, other in enumerate(found) if _agree(member, other, tolerance))
        index = next(matching, None)
        if index is None:
            return False
        del found[index]
    return True


def _is_number(expression: Any) -> bool:
    sympy = _import_sympy()
    return isinstance(expression, sympy.Expr) and not expression.free_symbols


def _numbers_agree(expected: Any, found: Any, tolerance: float) -> bool:
    if expected == found:
        return True
    sympy = _import_sympy()
    # doit(): the parser leaves sums, limits and factorials as written.
    expected, found = expected.doit(), found.doit()
    is_rounded = expected.has(sympy.Float) or found.has(sympy.Float)
    if is_rounded and expected.is_Integer:
        return bool(sympy.Rational(str(found)) == expected) if found.is_Float else False
    return _are_close(expected, found, tolerance if is_rounded else 10.0**-EXACT_DIGITS)


def _are_close(expected: Any, found: Any, tolerance: float) -> bool:
    expected_value, found_value = expected.evalf(WORKING_DIGITS), found.evalf(WORKING_DIGITS)
    if not (expected_value.is_finite and found_value.is_finite):
        return bool(expected_value == found_value)
    if expected.is_zero or found.is_zero:
        return bool((expected - found).equals(0))
    return bool(abs(expected_value - found_value) <= tolerance * abs(expected_value))


def _agree_at_a_point(expected: Any, found: Any, tolerance: float) -> bool:
    """False if two expressions differ at a point; True where one can't be evaluated there."""
    sympy = _import_sympy()
    if not all(isinstance(side, sympy.Expr) for side in (expected, found)):
        return True
    symbols = sorted(expected.free_symbols & found.free_symbols, key=str)
    point = {symbol: sympy.Rational(7 + 4 * i, 5 + i) for i, symbol in enumerate(symbols)}
    values = [side.subs(point) for side in (expected, found)]
    if any(value.free_symbols or value.is_number is not True for value in values):
        return True
    return _are_close(values[0], values[1], tolerance)
