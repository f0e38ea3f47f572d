"""Which answers may reach those scorers of Reasoning Gym that evaluate what they are given.

Nine data sets run ``eval`` or ``sympy.parse_expr`` on the answer, outside any sandbox. Only a
Python literal, or arithmetic over listed names without attributes, strings or indices, gets to
them: neither can call anything but elementary functions. Such arithmetic may still never end
(9**9**9**9), so these data sets are also scored in a worker that can be killed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

EVALUATES_PYTHON = frozenset({"binary_matrix", "n_queens", "spiral_matrix", "string_insertion"})
TRIGONOMETRIC_FUNCTIONS = {"sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan"}
HYPERBOLIC_FUNCTIONS = {"sinh", "cosh", "tanh", "asinh", "acosh", "atanh"}
CALCULUS_NAMES = frozenset(
    {"Abs", "Integral", "exp", "ln", "log", "sqrt", "C", "E", "pi"}
    | TRIGONOMETRIC_FUNCTIONS
    | HYPERBOLIC_FUNCTIONS
)
# Names that an expression may hold besides the problem's variables.
EVALUATES_EXPRESSION: Mapping[str, frozenset[str]] = {
    "countdown": frozenset(),
    "intermediate_integration": CALCULUS_NAMES,
    "polynomial_multiplication": frozenset(),
    "puzzle24": frozenset(),
    "simple_integration": CALCULUS_NAMES,
}
UNSAFE_SCORERS = EVALUATES_PYTHON | frozenset(EVALUATES_EXPRESSION)

NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)(?![\w.])"
BITWISE = re.compile(r"(?:0x[0-9a-fA-F]+|\d|<<|>>|[-+*()~&|^\s])+", re.ASCII)
TOKEN = re.compile(rf"\s+|{NUMBER}|([A-Za-z]+)(?![\w.])|[-+*/(),]", re.ASCII)


def may_be_evaluated(dataset: str, answer: str, entry: Mapping[str, Any]) -> bool:
    """True if the scorer of ``dataset``, of `UNSAFE_SCORERS`, can do no harm with ``answer``."""
    if dataset in EVALUATES_PYTHON:
        return _is_literal(answer)
    metadata = entry["metadata"]
    variables = {metadata.get("variable"), *metadata.get("variables", ())}
    return _is_arithmetic(answer, names=EVALUATES_EXPRESSION[dataset] | variables)


def check_entry(dataset: str, entry: Mapping[str, Any]) -> None:
    """ValueError if the scorer of ``dataset`` would evaluate anything but data in ``entry``.

    For entries that come from files: a generator's own are always what they should be.
    """
    metadata, answer = entry["metadata"], str(entry["answer"])
    is_data = True
    if dataset in ("intermediate_integration", "simple_integration"):
        is_data = may_be_evaluated(dataset, str(metadata["integrand"]), entry)
    elif dataset == "polynomial_multiplication":
        is_data = all(len(name) == 1 for name in metadata["variables"]) and may_be_evaluated(
            dataset, answer, entry
        )
    elif dataset == "number_sorting":
        is_data = _is_literal(answer)
    elif dataset == "bitwise_arithmetic":
        is_data = BITWISE.fullmatch(str(metadata["problem"])) is not None
    if not is_data:
        raise ValueError(f"{dataset} would evaluate an entry that is more than data")


def is_listed(answer: str, entry: Mapping[str, Any]) -> bool:
    """True if ``answer`` is, as text, one that the problem lists as right."""
    right = entry["metadata"].get("valid_answers", [entry["answer"]])
    return answer.strip() in [text.strip() for text in right]


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
    return True


def _is_arithmetic(text: str, *, names: frozenset[str]) -> bool:
    position = 0
    while position < len(text):
        token = TOKEN.match(text, position)
        if token is None or (token[1] is not None and token[1] not in names):
            return False
        position = token.end()
    return True
