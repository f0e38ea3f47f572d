"""Does a program's output say what the test expects? Pure comparisons in the parent process.

Values arrive as exact built-in types, so no ``__eq__`` of the program's is ever called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

TOLERANCE = 1e-6
"""Of decimals: |a - b| <= TOLERANCE * max(1, |b|), the usual rule of programming contests."""
MAX_GROWTH = 10
SLACK_BYTES = 1 << 16

_INTEGER_OR_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_INTEGER = re.compile(r"[+-]?\d+")


def output_matches(actual: bytes, expected: str) -> bool:
    """Compare word by word, as contest judges do: white space between words is free.

    A word that is a decimal in ``expected`` is compared as a number; integers and all
    else must be spelt alike.
    """
    if len(actual) > MAX_GROWTH * len(expected) + SLACK_BYTES:
        return False
    words = actual.decode("utf-8", errors="replace").split()
    expected_words = expected.split()
    return len(words) == len(expected_words) and all(
        word == wanted or _is_same_decimal(word, wanted)
        for word, wanted in zip(words, expected_words, strict=True)
    )


def value_matches(actual: object, expected: object) -> bool:
    """Compare a returned value with an expected one that was written as JSON.

    Tuples count as lists and keys of any type as their text, as JSON knows no others.
    APPS wraps single values in a list, so ``[x]`` may also be answered by ``x``.
    """
    if _is_equal(actual, expected):
        return True
    return isinstance(expected, list) and len(expected) == 1 and _is_equal(actual, expected[0])


def _is_equal(actual: object, expected: object) -> bool:
    # The recursion follows the expected value, which the program has no hand in.
    if isinstance(expected, list):
        return (
            isinstance(actual, list | tuple)
            and len(actual) == len(expected)
            and all(map(_is_equal, actual, expected))
        )
    if isinstance(expected, Mapping):
        if not isinstance(actual, Mapping) or len(actual) != len(expected):
            return False
        by_text = {str(key): value for key, value in actual.items()}
        return by_text.keys() == expected.keys() and all(
            _is_equal(by_text[key], value) for key, value in expected.items()
        )
    if isinstance(expected, float) and isinstance(actual, int | float):
        return _is_close(actual, expected)
    return actual == expected


def _is_same_decimal(word: str, wanted: str) -> bool:
    if _INTEGER.fullmatch(wanted) or not _INTEGER_OR_DECIMAL.fullmatch(wanted):
        return False
    return bool(_INTEGER_OR_DECIMAL.fullmatch(word)) and _is_close(float(word), float(wanted))


def _is_close(actual: float, expected: float) -> bool:
    if actual == expected:
        return True
    try:
        return abs(actual - expected) <= TOLERANCE * max(1.0, abs(expected))
    except OverflowError:  # an integer too large for a float is close to none
        return False
