"""One row of a published benchmark to one problem, with the prompt the model is trained on.

Mathematics and choices end with the instruction to box the answer, code with the one to present
a Python block; instruction-following prompts stay as they are. A row without a column that it
must have is an error, since the schema has changed.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import pickle
import zlib
from collections.abc import Callable, Mapping

from prorl_nemo.data.source_rows import (
    CODE_INSTRUCTION,
    Row,
    SkippedRow,
    boxed_problem,
    convert_eurus_code,
    make_problem_id,
    text_of,
)
from prorl_nemo.tasks.base import Problem
from prorl_nemo.tasks.code_tests import parse_tests
from prorl_nemo.tasks.instructions import parse_constraints

Convert = Callable[[Row], Problem | SkippedRow]
MAX_HIDDEN_TEST_BYTES = 1 << 30

# HumanEval+ compares floats with numpy, which the sandbox has not: the two names that it uses.
NUMPY_STAND_IN = """
import sys, types

def _allclose(found, expected, rtol, atol):
    if isinstance(expected, (list, tuple)):
        return len(found) == len(expected) and all(
            _allclose(*pair, rtol, atol) for pair in zip(found, expected)
        )
    return abs(found - expected) <= atol + rtol * abs(expected)

sys.modules["numpy"] = types.ModuleType("numpy")
sys.modules["numpy"].ndarray = type("ndarray", (), {})
sys.modules["numpy"].allclose = _allclose
"""


def math_row(problem: str = "problem", answer: str = "answer") -> Convert:
    """A converter of rows with the statement and the final answer in columns of these names."""

    def convert(row: Row) -> Problem | SkippedRow:
        context = str(row.get("context") or "").strip()  # OlympiadBench has one
        statement = f"{context}\n{text_of(row, problem).strip()}".strip()
        reference = _answer_text(row, answer)
        if not statement or not reference:
            return SkippedRow("no answer")
        return boxed_problem("math", statement, reference)

    return convert


def convert_gpqa(row: Row) -> Problem:
    """Four choices in an order that depends on the question alone."""
    question = text_of(row, "Question").strip()
    right = text_of(row, "Correct Answer").strip()
    wrong = [text_of(row, f"Incorrect Answer {number}").strip() for number in (1, 2, 3)]
    ordered = sorted([right, *wrong], key=lambda text: _digest(f"{question}\0{text}"))
    choices = dict(zip("ABCD", ordered, strict=True))
    letter = "ABCD"[ordered.index(right)]
    listed = "\n".join(f"({name}) {text}" for name, text in choices.items())
    ending = "The answer is the letter of the right choice."
    problem = boxed_problem("stem", f"{question}\n\n{listed}\n\n{ending}", letter)
    return Problem(problem.problem_id, "stem", problem.prompt, letter, {"choices": choices})


def convert_human_eval(row: Row) -> Problem:
    """HumanEval and HumanEval+: a function to complete, and its published assertions."""
    header, entry_point = text_of(row, "prompt"), text_of(row, "entry_point")
    prompt = f"Complete this Python function.\n```python\n{header.strip()}\n```\n{CODE_INSTRUCTION}"
    published = text_of(row, "test")
    # Some tests call helpers that the prompt defines.
    stand_in = NUMPY_STAND_IN if "import numpy" in published else ""
    tests = {
        "preamble": f"{header}    pass\n{stand_in}",
        "entry_point": entry_point,
        "assertions": f"{published}\ncheck({entry_point})\n",
    }
    parse_tests(tests, where=text_of(row, "task_id"))
    return Problem(make_problem_id("code", prompt), "code", prompt, "", {"tests": tests})


def convert_live_code_bench(row: Row) -> Problem:
    """Public and hidden tests; a program, or a function where the row names one."""
    statement = text_of(row, "question_content").strip()
    starter = text_of(row, "starter_code").strip()
    if starter:
        statement += f"\n\nUse this starting code.\n```python\n{starter}\n```"
    cases = _read_list(text_of(row, "public_test_cases"))
    cases += _read_hidden_tests(text_of(row, "private_test_cases"))
    tests: dict[str, object] = {
        "inputs": [case["input"] for case in cases],
        "outputs": [case["output"] for case in cases],
    }
    metadata = json.loads(text_of(row, "metadata") or "{}")
    if metadata.get("func_name"):
        tests["fn_name"] = metadata["func_name"]
    parse_tests(tests, where=text_of(row, "question_id"))
    prompt = f"{statement}\n\n{CODE_INSTRUCTION}"
    return Problem(make_problem_id("code", prompt), "code", prompt, "", {"tests": tests})


def prime_row(data_source: str) -> Convert:
    """A converter of the rows of Eurus-2-RL's validation split that come from ``data_source``."""

    def convert(row: Row) -> Problem | SkippedRow:
        if text_of(row, "data_source") != data_source:
            return SkippedRow("of another benchmark")
        return convert_eurus_code(row)

    return convert


def convert_ifeval(row: Row) -> Problem:
    prompt = text_of(row, "prompt")
    metadata = {"instruction_id_list": row.get("instruction_id_list"), "kwargs": row.get("kwargs")}
    problem = Problem(make_problem_id("instructions", prompt), "instructions", prompt, "", metadata)
    parse_constraints(problem)
    return problem


def _answer_text(row: Row, column: str) -> str:
    """The answer as text: 142.0 is 142, and a list is its items with commas between."""
    value = row.get(column)
    if isinstance(value, list):
        return ", ".join(map(str, value)).strip()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return text_of(row, column).strip()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read_list(text: str) -> list[Mapping[str, str]]:
    value = json.loads(text)
    if not isinstance(value, list):
        raise ValueError("tests must be a list")
    return value


def _read_hidden_tests(text: str) -> list[Mapping[str, str]]:
    """JSON, or JSON as a pickled text that is compressed and written in base64."""
    try:
        return _read_list(text)
    except ValueError:
        pass
    try:
        packed = zlib.decompressobj()
        data = packed.decompress(base64.b64decode(text), MAX_HIDDEN_TEST_BYTES)
        if packed.unconsumed_tail:
            raise ValueError(f"more than {MAX_HIDDEN_TEST_BYTES} bytes")
        return _read_list(str(_DataOnlyUnpickler(io.BytesIO(data)).load()))
    except (ValueError, TypeError, EOFError, zlib.error, pickle.UnpicklingError) as error:
        raise ValueError(f"private_test_cases can't be read: {error}") from error


class _DataOnlyUnpickler(pickle.Unpickler):
    """Builds texts, numbers and containers; refuses every name, so nothing can be called."""

    def find_class(self, module_name: str, global_name: str, /) -> object:
        raise pickle.UnpicklingError(f"a pickle that asks for {module_name}.{global_name}")
