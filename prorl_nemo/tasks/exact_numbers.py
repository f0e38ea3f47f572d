r"""Plain numbers of an answer as exact rationals, and when two of them agree.

A number here is an integer, a decimal, a fraction, a mixed number or a power of ten times
one of them, in the notation that `math_notation.canonical_answer` leaves. Anything else
(roots, pi, variables) is not a number of this module. Text is matched by regular
expressions and read with `int`; nothing is evaluated and no float is involved.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_EXPONENT = 1_000
RELATIVE_TOLERANCE = Fraction(1, 10**6)

_INTEGER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)"
_DECIMAL = rf"(?:{_INTEGER}(?:\.[0-9]*)?|\.[0-9]+)"
_TIMES = r"(?:\\times|\\cdot|\*|x|×|·)"
_POWER_OF_TEN = r"10\^(?:\{([+-]?[0-9]+)\}|([+-]?[0-9]+))"
_PLAIN = re.compile(rf"({_DECIMAL})(?:[eE]([+-]?[0-9]+))?")
_SCIENTIFIC = re.compile(rf"(?:({_DECIMAL}){_TIMES})?{_POWER_OF_TEN}")
_FRACTION = re.compile(
    rf"([0-9]+)?\\frac\{{([+-]?{_DECIMAL})\}}\{{([+-]?{_DECIMAL})\}}|({_DECIMAL})/({_DECIMAL})"
)
_BASED = re.compile(r"([0-9][0-9A-Z]*)_(?:\{([0-9]+)\}|([0-9]+))")


@dataclass(frozen=True)
class ExactNumber:
    """A number as written: ``value`` exactly, and whether the notation may have rounded it."""

    value: Fraction
    is_decimal: bool
    is_percent: bool = False

    @property
    def is_integer(self) -> bool:
        """Written as a whole number: 25, not 25.0."""
        return self.value.denominator == 1 and not self.is_decimal


def parse_number(text: str) -> ExactNumber | None:
    """The number that ``text`` (canonical, without spaces) is, or None."""
    is_percent = text.endswith("%")
    text = text.removesuffix("%")
    sign = -1 if text.startswith("-") else 1
    magnitude = _parse_magnitude(text[1:] if text[:1] in ("-", "+") else text)
    if magnitude is None:
        return None
    return ExactNumber(sign * magnitude.value, magnitude.is_decimal, is_percent)


def numbers_agree(
    reference: ExactNumber,
    answer: ExactNumber,
    *,
    relative_tolerance: Fraction = RELATIVE_TOLERANCE,
) -> bool:
    """Exact equality, or closeness where the notation itself is rounded.

    An integer reference (25, not 25.0) is met exactly or not at all. Otherwise, if either
    side is a decimal, a difference of ``relative_tolerance`` times the reference is allowed:
    0.333333 for 1/3. A percentage may be written as 50%, 50 or 0.5.
    """
    tolerance = relative_tolerance if reference.is_decimal or answer.is_decimal else Fraction(0)
    if reference.is_integer:
        tolerance = Fraction(0)
    if reference.is_percent == answer.is_percent:
        return _are_close(reference.value, answer.value, tolerance)
    scale = Fraction(1, 100) if answer.is_percent else Fraction(100)
    return any(
        _are_close(reference.value, value, tolerance)
        for value in (answer.value, answer.value * scale)
    )


def parse_based_number(text: str) -> tuple[str, int] | None:
    """``203_5`` as its digits and its base; None for anything else."""
    match = _BASED.fullmatch(text)
    if match is None:
        return None
    return match[1].lstrip("0") or "0", int(match[2] or match[3])


def _are_close(reference: Fraction, value: Fraction, tolerance: Fraction) -> bool:
    return abs(reference - value) <= tolerance * abs(reference)


def _parse_magnitude(text: str) -> ExactNumber | None:
    if match := _PLAIN.fullmatch(text):
        return _scaled(match[1], match[2] or "0", is_decimal="." in match[1])
    if match := _SCIENTIFIC.fullmatch(text):
        mantissa = match[1] or "1"
        return _scaled(mantissa, match[2] or match[3], is_decimal="." in mantissa)
    if match := _FRACTION.fullmatch(text):
        return _fraction(match[1], match[2] or match[4], match[3] or match[5])
    return None


def _scaled(mantissa: str, exponent: str, *, is_decimal: bool) -> ExactNumber | None:
    if len(exponent) > len(str(MAX_EXPONENT)) + 1 or abs(int(exponent)) > MAX_EXPONENT:
        return None
    return ExactNumber(_rational(mantissa) * Fraction(10) ** int(exponent), is_decimal)


def _fraction(whole: str | None, numerator: str, denominator: str) -> ExactNumber | None:
    divisor = _rational(denominator)
    if divisor == 0:
        return None
    value = Fraction(whole or 0) + _rational(numerator) / divisor
    return ExactNumber(value, is_decimal=False)


def _rational(decimal: str) -> Fraction:
    return Fraction(decimal.replace(",", "").rstrip("."))
