import json

import pytest

from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.tasks.code import CodeTask
from prorl_nemo.tasks.sandbox import Sandbox, SandboxLimits
from prorl_nemo.tasks.sandbox_probe import check_sandbox

STATUS = check_sandbox()
needs_sandbox = pytest.mark.skipif(not STATUS.is_usable, reason=STATUS.message)

SUM_TESTS = {"inputs": ["2 3\n", "10 20\n", "-1 1\n"], "outputs": ["5\n", "30\n", "0"]}
ADD_TESTS = {
    "fn_name": "add",
    "inputs": [[2, 3], [10, 20], [-1, 1], [0, 7]],
    "outputs": [5, 30, 0, 7],
}
MEDIAN_TESTS = {
    "entry_point": "median",
    "preamble": "import math\ndef tolerance():\n    return 1e-6\n",
    "assertions": (
        "def check(candidate):\n"
        "    assert candidate([3, 1, 2]) == 2\n"
        "    for shift in range(3):\n"
        "        middle = candidate([shift, shift + 1])\n"
        "        assert math.isclose(middle, shift + 0.5, abs_tol=tolerance())\n"
        "    assert candidate(items=[(7)]) == 7, 'named arguments arrive'\n"
        "check(median)\n"
    ),
}
MEDIAN = (
    "def median(items):\n"
    "    items = sorted(items)\n"
    "    middle = len(items) // 2\n"
    "    return items[middle] if len(items) % 2 else (items[middle - 1] + items[middle]) / 2\n"
)


@pytest.fixture(scope="module")
def task() -> CodeTask:
    limits = SandboxLimits(cpu_seconds=1.0, wall_seconds=3.0)
    return CodeTask("code", [], sandbox=Sandbox(limits))


def problem(tests: object, **metadata: object) -> Problem:
    return Problem("p", "code", "Solve it.", "", {"tests": tests, **metadata})


def fenced(program: str, tag: str = "python") -> str:
    return f"<think>Let me think.</think>\nHere it is:\n```{tag}\n{program}\n```\nDone."


@needs_sandbox
@pytest.mark.parametrize(
    ("program", "reward"),
    [
        ("print(sum(map(int, input().split())))", 1.0),
        ("import sys\nsys.stdout.write(str(sum(map(int, sys.stdin.read().split()))))\nexit()", 1.0),
        ("print(abs(sum(map(int, input().split()))) or 'nothing')", 2 / 3),
        ("print(5)", 1 / 3),
        ("print('5 30 0')", 0.0),
        ("print(sum(map(int, input().split())))\nraise SystemExit(1)", 0.0),
        ("print(sum(map(int, input().split()))", 0.0),
        ("", 0.0),
    ],
)
def test_a_program_is_paid_the_fraction_of_tests_it_passes(
    task: CodeTask, program: str, reward: float
) -> None:
    assert task.score(problem(SUM_TESTS), fenced(program)) == Score(reward)


@needs_sandbox
@pytest.mark.parametrize(
    ("program", "reward"),
    [
        ("def add(a, b):\n    return a + b", 1.0),
        ("class Solution:\n    def add(self, a, b):\n        return a + b", 1.0),
        ("add = int.__add__", 1.0),
        ("def add(a, b):\n    print('noise')\n    return a + b", 1.0),
        ("def add(a, b):\n    return a + b if a else None", 3 / 4),
        ("def add(a, b):\n    return float(a + b)", 1.0),
        ("def add(a, b):\n    return str(a + b)", 0.0),
        ("def subtract(a, b):\n    return a - b", 0.0),
        ("if __name__ == '__main__':\n    raise ValueError\ndef add(a, b):\n    return a + b", 1.0),
    ],
)
def test_a_function_is_paid_the_fraction_of_calls_it_answers(
    task: CodeTask, program: str, reward: float
) -> None:
    assert task.score(problem(ADD_TESTS), fenced(program)) == Score(reward)


@needs_sandbox
@pytest.mark.parametrize(
    ("program", "reward"),
    [
        (MEDIAN, 1.0),
        ("def median(items):\n    return sorted(items)[len(items) // 2]", 0.0),
        ("def median(items):\n    pass", 0.0),
        ("def median(items):\n    raise AssertionError", 0.0),
        ("raise SystemExit(0)", 0.0),
    ],
)
def test_assertions_all_hold_or_earn_nothing(task: CodeTask, program: str, reward: float) -> None:
    assert task.score(problem(MEDIAN_TESTS), fenced(program)) == Score(reward)


@needs_sandbox
def test_assertions_that_never_call_the_program_earn_nothing(task: CodeTask) -> None:
    tests = {"entry_point": "f", "assertions": "assert True"}
    assert task.score(problem(tests), fenced("def f(): pass")) == Score(0.0)


@needs_sandbox
@pytest.mark.parametrize(
    ("value", "expected", "is_equal"),
    [
        ("(1, (2, 3))", [1, [2, 3]], True),
        ("{1: 'a', 'b': 2.0000000001}", {"1": "a", "b": 2.0}, True),
        ("2**100", 2**100, True),
        ("2**100 + 1", 2**100, False),
        ("float('nan')", None, False),
        ("[True, None, 'é\\n', b'x'.decode()]", [True, None, "é\n", "x"], True),
        ("0.1 + 0.2", 0.3, True),
        ("0.301", 0.3, False),
        ("7", [7], True),
        ("{3}", [3], False),
        ("object()", None, False),
    ],
)
def test_values_are_compared_as_json_knows_them(
    task: CodeTask, value: str, expected: object, is_equal: bool
) -> None:
    tests = {"fn_name": "f", "inputs": [[]], "outputs": [expected]}
    score = task.score(problem(tests), fenced(f"def f():\n    return {value}"))
    assert score == Score(float(is_equal))


@needs_sandbox
def test_programs_that_thread_and_flush_at_exit_are_waited_for(task: CodeTask) -> None:
    program = (
        "import atexit, threading, time\n"
        "answer = []\n"
        "def main():\n    time.sleep(0.1)\n    answer.append(sum(map(int, input().split())))\n"
        "atexit.register(lambda: print(answer[0]))\n"
        "threading.Thread(target=main).start()\n"
    )
    assert task.score(problem(SUM_TESTS), fenced(program)) == Score(1.0)


@needs_sandbox
@pytest.mark.parametrize("body", ["while True:\n    pass", "import time\ntime.sleep(60)"])
def test_a_program_beyond_the_time_limit_earns_nothing_whatever_it_passed(
    task: CodeTask, body: str
) -> None:
    program = f"if input() == '-1 1':\n    {body.replace(chr(10), chr(10) + '    ')}\nprint(5)"
    assert task.score(problem(SUM_TESTS), fenced(program)) == Score(0.0, "timeout")


@needs_sandbox
def test_the_time_limit_is_for_all_tests_together(task: CodeTask) -> None:
    spin = "import time\nwhile time.process_time() < 0.3:\n    pass\nprint(input())"
    few = {"inputs": ["a"] * 2, "outputs": ["a"] * 2}
    many = {"inputs": ["a"] * 5, "outputs": ["a"] * 5}
    assert task.score(problem(few), fenced(spin)) == Score(1.0)
    assert task.score(problem(many), fenced(spin)) == Score(0.0, "timeout")


@needs_sandbox
def test_tests_see_nothing_of_each_other_but_files(task: CodeTask) -> None:
    program = "import builtins\nbuiltins.seen = getattr(builtins, 'seen', 0) + 1\nprint(seen)"
    tests = {"inputs": ["", ""], "outputs": ["1", "1"]}
    assert task.score(problem(tests), fenced(program)) == Score(1.0)


@needs_sandbox
def test_a_large_input_and_output_pass_through(task: CodeTask) -> None:
    text = "word " * 400_000
    tests = {"inputs": [text], "outputs": [text]}
    program = "import sys\nsys.stdout.write(sys.stdin.read())"
    assert task.score(problem(tests), fenced(program)) == Score(1.0)


@needs_sandbox
@pytest.mark.parametrize(
    "response",
    ["", "no code", "```python\nprint(5)", "\0\ud800" * 99, "x" * 1_000_000, "```a\n" * 200_000],
    ids=["empty", "junk", "unclosed", "binary", "giant", "fences"],
)
def test_responses_without_a_program_earn_nothing(task: CodeTask, response: str) -> None:
    assert task.score(problem(SUM_TESTS), response) == Score(0.0)


@needs_sandbox
def test_truncated_reasoning_is_not_graded(task: CodeTask) -> None:
    response = "<think>Perhaps\n```python\nprint(sum(map(int, input().split())))\n```"
    assert task.score(problem(SUM_TESTS), response) == Score(0.0, "truncated_reasoning")


@needs_sandbox
def test_calls_may_be_written_as_lines_of_json(task: CodeTask) -> None:
    tests = {"fn_name": "add", "inputs": ["[1]\n[2]"], "outputs": [json.dumps([1, 2])]}
    assert task.score(problem(tests), fenced("def add(a, b):\n    return a + b")) == Score(1.0)
