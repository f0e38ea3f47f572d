"""The tests of a code problem, as data: what goes in and what must come out.

Three kinds cover the public sets: text in and text out (CodeContests, Codeforces), a
function with arguments and a value (APPS, TACO), and a list of assertions about a
function (HumanEval, MBPP). Nothing is run here.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class StdinTests:
    """Texts for standard input and the texts that must appear on standard output."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class FunctionTests:
    """Arguments for ``function_name`` (also a method of a class Solution), and its values.

    ``preamble`` is executed before the program in the same namespace.
    """

    function_name: str
    inputs: tuple[Sequence[object], ...]
    outputs: tuple[object, ...]
    preamble: str = ""


@dataclass(frozen=True)
class AssertionTests:
    """Assertions that call ``entry_point``: all hold or the reward is 0, as published.

    ``preamble`` defines what the assertions need. Neither is seen by the program.
    """

    entry_point: str
    assertions: str
    preamble: str = ""


CodeTests = StdinTests | FunctionTests | AssertionTests


def parse_tests(data: object, *, where: str) -> CodeTests:
    """Read the tests from a problem's metadata; ValueError names ``where`` and the field.

    Accepted are ``{"inputs", "outputs"}``, the same with ``"fn_name"`` (and optionally
    ``"preamble"``), and ``{"entry_point", "assertions"}`` (and optionally ``"preamble"``).
    A text may be a list of lines, as in APPS.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{where}: tests must be an object, not {type(data).__name__}")
    preamble = _text(data, "preamble", where) if "preamble" in data else ""
    if "assertions" in data:
        assertions = _text(data, "assertions", where)
        if not _has_assertion(assertions, where):
            raise ValueError(f"{where}: tests.assertions holds no assertion")
        return AssertionTests(_text(data, "entry_point", where), assertions, preamble)
    inputs, outputs = _items(data, "inputs", where), _items(data, "outputs", where)
    if not inputs or len(inputs) != len(outputs):
        raise ValueError(f"{where}: {len(inputs)} test inputs but {len(outputs)} outputs")
    if data.get("fn_name"):
        calls = [_parse_call(*pair, where) for pair in zip(inputs, outputs, strict=True)]
        return FunctionTests(
            _text(data, "fn_name", where),
            tuple(arguments for arguments, _ in calls),
            tuple(value for _, value in calls),
            preamble,
        )
    return StdinTests(
        tuple(_join_lines(item, where) for item in inputs),
        tuple(_join_lines(item, where) for item in outputs),
    )


def _has_assertion(code: str, where: str) -> bool:
    try:
        return any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(code)))
    except SyntaxError as error:
        raise ValueError(f"{where}: tests.assertions is not Python: {error}") from error


def _text(data: Mapping[str, object], key: str, where: str) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{where}: tests.{key} must be a string")
    return value


def _items(data: Mapping[str, object], key: str, where: str) -> Sequence[object]:
    value = data.get(key)
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where}: tests.{key} must be a list")
    return value


def _join_lines(item: object, where: str) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, list) and all(isinstance(line, str) for line in item):
        return "\n".join(item)
    raise ValueError(f"{where}: a test of a program is a string or a list of lines")


def _parse_call(arguments: object, value: object, where: str) -> tuple[Sequence[object], object]:
    """One call as (arguments, value). LiveCodeBench writes both as text, a line of JSON each."""
    if isinstance(arguments, list | tuple):
        return arguments, value
    if not isinstance(arguments, str) or not isinstance(value, str):
        raise ValueError(f"{where}: a test of a function is a list of arguments or lines of JSON")
    try:
        lines = [line for line in arguments.splitlines() if line.strip()]
        return [json.loads(line) for line in lines], json.loads(value)
    except ValueError as error:
        raise ValueError(f"{where}: a test of a function is not JSON: {error}") from error
