"""Mathematics: verdicts, and that no answer can crash, stall or execute anything."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.tasks.math import MathTask

pytest.importorskip("math_verify")


def make_problem(answer: str) -> Problem:
    return Problem("math/0", "math", "?", answer)


TASK = MathTask("math", [make_problem("1")], time_limit_seconds=2.0)


def score_box(reference: str, answer: str) -> float:
    return TASK.score(make_problem(reference), f"so \\boxed{{{answer}}}.").reward


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("13", r"\text{13}"),
        (r"10\,080", "10080"),
        ("1000", "1e3"),
        ("7425000", "7,425,000"),
        ("0,1", "(0,1)"),
        ("1,2", "2, 1"),
        (r"\{1,2\}", "2,1"),
        (r"\frac{\sqrt{3}}{2}", r"\frac12\sqrt3"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3, \pi/2)"),
        (r"2x+4", r"2(x+2)"),
        (r"x=5", "5"),
        ("5", "x = 5"),
        (r"90^\circ", "90"),
        (r"\$32,\!349", "32349"),
        (r"5 \text{ cm}", "5"),
        (r"[0,1) \cup (2,3]", r"[0, 1) \cup (2, 3]"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        (r"\text{Evelyn}", "evelyn"),
        (r"\frac{1}{2}", "50\\%"),
        ("203_5", "203_5"),
        ("1000.99", "1000,99"),  # a decimal comma
        (r"\sqrt{2}", "1.414214"),
    ],
)
def test_equal_answers_pass(reference: str, answer: str) -> None:
    assert score_box(reference, answer) == 1.0


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        (r"1331 \text{ and } 1728", "1728"),
        ("3x-y+13=0", "3x+4y+14=0"),
        ("3", "1,2,3,4"),
        ("0,1", "01"),
        ("203_4", "203_5"),
        ("123456789012345678", "123456789012345679"),
        ("1", "1.000000001"),
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
        (r"4.7 \times 10^{-19}", r"5.1 \times 10^{-19}"),
        ("(0,1)", "[0,1]"),
        ("(1,2)", "(2,1)"),
        (r"\text{increases}", r"\text{decreases}"),
        (r"\sqrt{2}", "1.41"),
        ("5", "x"),
        (r"(10^{-20}, 1)", r"(10^{-21}, 1)"),
        (r"\{10^{-20}\pi\}", r"\{10^{-21}\pi\}"),
        (r"10^{-20}x", r"2 \cdot 10^{-20}x"),
    ],
)
def test_different_answers_fail(reference: str, answer: str) -> None:
    assert score_box(reference, answer) == 0.0


def test_only_the_last_answer_after_the_reasoning_counts() -> None:
    problem = make_problem("7")
    assert TASK.score(problem, r"<think>\boxed{7}</think>It is 7.").reward == 0.0
    assert TASK.score(problem, r"<think>\boxed{3}</think>It is \boxed{7}.").reward == 1.0
    assert TASK.score(problem, r"\boxed{7}, no: \boxed{8}").reward == 0.0
    assert TASK.score(problem, r"\boxed{3}, \boxed{7}").reward == 1.0
    assert TASK.score(problem, r"<think>\boxed{7}") == Score(0.0, "truncated_reasoning")
    assert TASK.score(problem, "It is 7.") == Score(0.0)


def test_neighbouring_boxes_state_a_list() -> None:
    assert TASK.score(make_problem("1,-2"), r"\boxed{-2} and \boxed{1}").reward == 1.0
    assert TASK.score(make_problem("1,-2"), r"\boxed{-2} and \boxed{3}").reward == 0.0


@pytest.mark.parametrize(
    "response",
    [
        "",
        " ",
        "\x00\x01\xff",
        "\ud800",
        "x" * 1_000_000,
        "\\boxed{" + "{" * 1_000_000,
        "\\boxed{\ud800}",
    ],
    ids=[
        "empty",
        "blank",
        "binary",
        "surrogate",
        "megabyte",
        "megabyte of braces",
        "boxed surrogate",
    ],
)
def test_junk_is_zero(response: str) -> None:
    assert TASK.score(make_problem("1"), response).reward == 0.0


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="\\{}()[]^_!,;.-+*/=<>0123456789xfracsqrt $%", max_size=40))
def test_any_answer_gets_a_score(answer: str) -> None:
    assert score_box(r"\frac{3}{7}", answer) in (0.0, 1.0)


ENDLESS = r"9^{9^{9^{9}}}"


def test_an_endless_answer_times_out_on_the_main_thread() -> None:
    started = time.monotonic()
    assert TASK.score(make_problem("1"), f"\\boxed{{{ENDLESS}}}") == Score(0.0, "timeout")
    assert time.monotonic() - started < 15.0


def test_an_endless_answer_times_out_in_a_thread_and_the_next_is_graded() -> None:
    scores: list[Score] = []

    def score_three() -> None:
        for answer in (ENDLESS, r"\sqrt{4}", r"\sqrt{5}"):
            scores.append(TASK.score(make_problem("2"), f"\\boxed{{{answer}}}"))

    started = time.monotonic()
    thread = threading.Thread(target=score_three)
    thread.start()
    thread.join()

    assert scores == [Score(0.0, "timeout"), Score(1.0), Score(0.0)]
    assert time.monotonic() - started < 60.0  # two starts of the child included


def test_a_time_limit_shorter_than_the_imports_breaks_no_later_verdict() -> None:
    program = (
        "from prorl_nemo.tasks.base import Problem\n"
        "from prorl_nemo.tasks.math import MathTask\n"
        "problem = Problem('0', 'math', '?', r'x \\leq 5')\n"
        "for limit in (0.01, 60):\n"
        "    task = MathTask('math', [problem], time_limit_seconds=limit)\n"
        "    print(task.score(problem, r'\\boxed{5 \\geq x}').reward)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[1] == "1.0"


def test_an_outer_alarm_survives() -> None:
    fired = threading.Event()
    outer = signal.signal(signal.SIGALRM, lambda *_: fired.set())
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        score_box("2", r"\sqrt{4}")
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0.0
        assert fired.wait(5.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, outer)


def test_no_answer_is_executed(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    for code in (
        f"__import__('os').system('touch {marker}')",
        f"\\pi if __import__('os').system('touch {marker}') else 0",
        f"open('{marker}','w')",
    ):
        assert score_box(r"\pi", code) == 0.0
    assert not marker.exists()


def test_the_task_is_a_sequence_of_its_problems() -> None:
    assert len(TASK) == 1
    assert TASK[0].answer == "1"
    with pytest.raises(IndexError):
        TASK[1]
