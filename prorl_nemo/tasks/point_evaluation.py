r"""Whether two LaTeX expressions have the same value at sample points: an independent verifier.

A recursive descent over arithmetic (``+ - * / ^ !``, ``\frac``, ``\sqrt``, pi, e, variables,
implicit products) computes with 60 digits and shares nothing with SymPy's parser. Two rational
or radical expressions that agree there at two points are equal for every practical purpose;
two that differ at a positive point are not. Anything else, and anything that notation leaves
ambiguous (``1/2x``, ``f(x)``, an imaginary i), is not decided here.
"""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from prorl_nemo.tasks.optional_library import import_optional

WORKING_DIGITS = 60
AGREEING_DIGITS = 40
MAX_CHARS = 300
MAX_DEPTH = 40
MAX_EXPONENT = 10_000
MAX_FACTORIAL = 3_000

# A context for each thread: mpmath changes its precision while it computes.
_LOCAL = threading.local()

_TOKEN = re.compile(
    r"(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
    r"|(?P<variable>(?:[A-Za-df-hj-z]|\\(?:alpha|beta|gamma|delta|theta|lambda|mu|phi|omega|rho)"
    r"(?![a-zA-Z]))(?:_(?:[0-9a-zA-Z]|\{[0-9a-zA-Z]+\}))?)"
    r"|(?P<constant>\\pi(?![a-zA-Z])|e)"
    r"|(?P<command>\\(?:frac|sqrt|cdot|times|div)(?![a-zA-Z]))"
    r"|(?P<symbol>[-+*/^!(){}\[\]])"
)
_PRODUCTS = ("*", "\\cdot", "\\times")
_QUOTIENTS = ("/", "\\div")
# 1e-3 is a number, and four letters in a row a word.
_AMBIGUOUS = re.compile(r"[0-9]e[-+]?[0-9]|(?<![\\a-zA-Z])[a-zA-Z]{4}")


class _UndecidedError(Exception):
    """The text is outside the grammar, ambiguous or too large to evaluate."""


def compare_at_points(reference: str, answer: str, *, relative_tolerance: Fraction) -> bool | None:
    """Equality of canonical texts; None where either is outside the grammar.

    Decimals agree within ``relative_tolerance`` of the reference, everything else exactly.
    """
    if max(len(reference), len(answer)) > MAX_CHARS:
        return None
    is_rounded = "." in reference or "." in answer
    context = _get_context()
    exact = context.mpf(10) ** -AGREEING_DIGITS
    tolerance = context.mpf(float(relative_tolerance)) if is_rounded else exact
    try:
        if not _agree_at(reference, answer, 1, tolerance):
            return False
        if not _agree_at(reference, answer, -1, tolerance):
            return None  # as |x| and x: whether they are the same depends on the domain
    except (_UndecidedError, ArithmeticError, ValueError):
        return None
    return True


def _agree_at(reference: str, answer: str, sign: int, tolerance: Any) -> bool:
    sides = _Evaluator(reference, sign), _Evaluator(answer, sign)
    expected, found = (side.evaluate() for side in sides)
    if expected == found or abs(expected - found) <= tolerance * abs(expected):
        return True
    if sides[0].has_variables != sides[1].has_variables:
        raise _UndecidedError  # 35 and 35 cm
    return False


class _Evaluator:
    """The value of one text, with variables at points that depend on their names."""

    def __init__(self, text: str, sign: int) -> None:
        self._tokens = _tokenize(text)
        self._position = 0
        self._depth = 0
        self._sign = sign
        self._context = _get_context()
        self._largest_term = self._context.zero
        self.has_variables = any(kind == "variable" for kind, _ in self._tokens)

    def evaluate(self) -> Any:
        """The value; undecided if it is not finite or all its digits may have cancelled."""
        value = self._sum()
        precision = self._context.mpf(10) ** (AGREEING_DIGITS - WORKING_DIGITS)
        is_reliable = self._context.isfinite(value) and (
            abs(value) >= precision * self._largest_term
        )
        if self._position != len(self._tokens) or not is_reliable:
            raise _UndecidedError
        return value

    def _peek(self) -> tuple[str, str]:
        is_left = self._position < len(self._tokens)
        return self._tokens[self._position] if is_left else ("end", "")

    def _take(self, *texts: str) -> bool:
        if self._peek()[1] in texts:
            self._position += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise _UndecidedError

    def _nested(self, parse: Callable[[], Any], closing: str) -> Any:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _UndecidedError
        value = parse()
        self._expect(closing)
        self._depth -= 1
        return value

    def _sum(self) -> Any:
        value = self._product()
        while self._peek()[1] in ("+", "-"):
            is_minus = self._peek()[1] == "-"
            self._position += 1
            term = self._product()
            self._largest_term = max(self._largest_term, abs(term), abs(value))
            value = value - term if is_minus else value + term
        return value

    def _product(self) -> Any:
        value = self._signed()
        is_quotient = False
        while True:
            kind, text = self._peek()
            if self._take(*_PRODUCTS):
                value = value * self._signed()
            elif self._take(*_QUOTIENTS):
                value, is_quotient = value / self._signed(), True
            elif kind in ("variable", "constant") or text in ("(", "\\sqrt", "\\frac"):
                self._require_clear_product(text, is_quotient=is_quotient)
                value = value * self._power()
            else:
                return value

    def _require_clear_product(self, text: str, *, is_quotient: bool) -> None:
        """1/2x may mean 1/(2x), 3\\frac{1}{2} a mixed number and f(x) a function."""
        kind, previous = self._tokens[self._position - 1]
        is_mixed_number = kind == "number" and text == "\\frac"
        is_call = text == "(" and kind == "variable" and previous[0] in "fghFGHPQpq"
        if is_quotient or is_mixed_number or is_call:
            raise _UndecidedError

    def _signed(self) -> Any:
        if self._take("-"):
            return -self._power()
        self._take("+")
        return self._power()

    def _power(self) -> Any:
        base = self._atom()
        while self._take("!"):
            base = self._factorial(base)
        if not self._take("^"):
            return base
        exponent = self._argument()
        if self._peek()[1] in ("^", "!"):
            raise _UndecidedError
        is_large = abs(exponent) > MAX_EXPONENT or (base == 0 and self._context.re(exponent) <= 0)
        if is_large:
            raise _UndecidedError
        return self._context.power(base, exponent)

    def _argument(self) -> Any:
        """What a command or ``^`` applies to: a group, or one character."""
        if self._take("{"):
            return self._nested(self._sum, "}")
        kind, text = self._peek()
        if kind in ("variable", "constant") or (kind == "number" and len(text) == 1):
            return self._atom()
        raise _UndecidedError

    def _atom(self) -> Any:
        kind, text = self._peek()
        self._position += 1
        if kind == "number":
            return self._context.mpf(text)
        if kind == "variable":
            return self._point(text.replace("{", "").replace("}", ""))
        if kind == "constant":
            return +(self._context.e if text == "e" else self._context.pi)
        if text == "\\frac":
            numerator = self._argument()
            return numerator / self._argument()
        if text == "\\sqrt":
            degree = self._nested(self._sum, "]") if self._take("[") else 2
            return self._context.power(self._argument(), self._context.mpf(1) / degree)
        if text in ("(", "{"):
            return self._nested(self._sum, ")" if text == "(" else "}")
        raise _UndecidedError

    def _point(self, name: str) -> Any:
        """A value between 1/2 and 2 that belongs to the name."""
        digest = zlib.crc32(name.encode()) % 1_000_003
        return self._sign * (self._context.mpf(digest) / 666_667 + 0.5)

    def _factorial(self, value: Any) -> Any:
        if not self._context.isint(value) or not 0 <= value <= MAX_FACTORIAL:
            raise _UndecidedError
        return self._context.factorial(value)


def _tokenize(text: str) -> list[tuple[str, str]]:
    if _AMBIGUOUS.search(text):
        raise _UndecidedError
    tokens, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _UndecidedError
        assert match.lastgroup is not None
        tokens.append((match.lastgroup, match[0]))
        position = match.end()
    return tokens


def _get_context() -> Any:
    context = getattr(_LOCAL, "context", None)
    if context is None:
        context = import_optional("mpmath").MPContext()
        context.dps = WORKING_DIGITS
        _LOCAL.context = context
    return context
