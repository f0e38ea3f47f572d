r"""One row of a published data set to one problem, with its prompt as published.

Each converter names the columns it needs. A row without one is an error, since the schema has
changed; a row that has them but can't be trained on (no answer, not of the domain) is a
`SkippedRow` with its reason, and is counted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prorl_nemo.tasks.base import Problem
from prorl_nemo.tasks.code_tests import parse_tests
from prorl_nemo.tasks.final_answer import last_boxed_answer
from prorl_nemo.tasks.instructions import parse_constraints

Row = Mapping[str, object]

BOXED_INSTRUCTION = "Let's think step by step and output the final answer within \\boxed{}."
"""DeepScaleR's suffix (agentica-project/rllm); the paper prints no template of its own."""
CODE_INSTRUCTION = (
    "Write Python code to solve the problem. Present the code in \n"
    "```python\nYour code\n```\nat the end."
)
"""What Eurus-2-RL's own prompts end with; named so that it never counts as an overlap."""
MAX_REFERENCE_CHARS = 200
"""A longer reference is an explanation, not an answer that a rule can compare."""


@dataclass(frozen=True)
class SkippedRow:
    """A row that is not used, and why."""

    reason: str


def convert_deepscaler(row: Row) -> Problem | SkippedRow:
    problem, answer = text_of(row, "problem"), text_of(row, "answer").strip()
    if not problem.strip():
        return SkippedRow("no problem")
    if not answer:
        return SkippedRow("no answer")
    return boxed_problem("math", problem, answer)


def convert_eurus_code(row: Row) -> Problem | SkippedRow:
    """Coding rows only; their published user prompt already asks for a Python block."""
    if text_of(row, "ability") != "code":
        return SkippedRow("not code")
    prompt = _last_user_message(row, "prompt")
    reward_model = _mapping(row, "reward_model")
    tests = _parse_json_object(text_of(reward_model, "ground_truth"))
    if tests is None:
        return SkippedRow("tests are not JSON")
    wanted = {name: tests[name] for name in ("inputs", "outputs", "fn_name") if name in tests}
    problem_id = make_problem_id("code", prompt)
    try:
        parse_tests(wanted, where=problem_id)
    except ValueError:
        return SkippedRow("tests that can't be used")
    return Problem(problem_id, "code", prompt, "", {"tests": wanted})


def convert_scp(row: Row) -> Problem | SkippedRow:
    """Rows that a published model solution agrees with, and whose answer is short.

    The answer is the box of the source's solution, the solution itself if short, or the box
    of a model solution that agrees with it.
    """
    problem, solution = text_of(row, "problem"), text_of(row, "matched_solution").strip()
    agreeing = [
        text_of(row, f"{model}_solution")
        for model in ("o1", "qwq")
        if _flag(row, f"is_{model}_solution_same_with_matched_solution")
    ]
    if not problem.strip():
        return SkippedRow("no problem")
    if not agreeing:
        return SkippedRow("no model solution agrees with the source")
    candidates = [last_boxed_answer(solution), solution, *map(last_boxed_answer, agreeing)]
    answer = next(filter(_is_short, candidates), None)
    if answer is None:
        return SkippedRow("no short answer")
    return boxed_problem("stem", problem, answer)


def convert_nemotron_instructions(row: Row) -> Problem | SkippedRow:
    prompt = _last_user_message(row, "input")
    arguments = _mapping(row, "args")
    ids, kwargs = arguments.get("instruction_id_list"), arguments.get("instruction_kwargs")
    if not isinstance(ids, list) or not isinstance(kwargs, list):
        raise ValueError("args lacks the lists instruction_id_list and instruction_kwargs")
    metadata = {"instruction_id_list": ids, "kwargs": kwargs}
    problem_id = make_problem_id("instructions", prompt)
    problem = Problem(problem_id, "instructions", prompt, "", metadata)
    try:
        parse_constraints(problem)
    except ValueError:
        return SkippedRow("a constraint that can't be checked")
    return problem


def make_problem_id(task: str, prompt: str) -> str:
    """Stable across revisions and orders of the source: a digest of the prompt."""
    return f"{task}/{hashlib.sha256(prompt.encode()).hexdigest()[:16]}"


def boxed_problem(task: str, problem: str, answer: str) -> Problem:
    """A problem that asks for a boxed answer, in the words of `BOXED_INSTRUCTION`."""
    prompt = f"{problem.strip()} {BOXED_INSTRUCTION}"
    return Problem(make_problem_id(task, prompt), task, prompt, answer)


def text_of(row: Row, column: str) -> str:
    """The column as text, "" for none; ValueError if there is no such column."""
    if column not in row:
        raise ValueError(f"lacks the column {column!r}; it has {', '.join(sorted(row))}")
    value = row[column]
    return "" if value is None else str(value)


def _flag(row: Row, column: str) -> bool:
    value = row.get(column)
    if column not in row or not isinstance(value, bool | None):
        raise ValueError(f"{column} must be true, false or null")
    return value is True


def _is_short(answer: str | None) -> bool:
    return bool(answer) and len(answer or "") <= MAX_REFERENCE_CHARS and "\n" not in (answer or "")


def _mapping(row: Row, column: str) -> Row:
    value = row.get(column)
    if not isinstance(value, Mapping):
        raise ValueError(f"{column} must be an object, found {type(value).__name__}")
    return value


def _last_user_message(row: Row, column: str) -> str:
    """The last user message of a chat, or the column itself where it is plain text."""
    value = row.get(column)
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, Sequence):
        for message in reversed(value):
            if isinstance(message, Mapping) and message.get("role") == "user":
                return str(message.get("content", "")).strip()
    raise ValueError(f"{column} must be a text or a chat with a user message")


def _parse_json_object(text: str) -> dict[str, object] | None:
    # Some published tests hold lone control characters inside their strings.
    try:
        value = json.loads(re.sub(r"\x00", "", text), strict=False)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
