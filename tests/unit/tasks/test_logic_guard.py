"""What reaches scorers that evaluate text: data and arithmetic, never anything that runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from prorl_nemo.tasks.base import Problem
from prorl_nemo.tasks.logic import HASH_DEPENDENT, LogicTask
from prorl_nemo.tasks.logic_entry import encode_entry
from prorl_nemo.tasks.logic_file import LogicFileTask
from prorl_nemo.tasks.logic_guard import (
    EVALUATES_EXPRESSION,
    EVALUATES_PYTHON,
    UNSAFE_SCORERS,
    may_be_evaluated,
)

DATASETS = sorted(UNSAFE_SCORERS - HASH_DEPENDENT)


def make_task(dataset: str, *, stock_scorer: bool = False) -> LogicTask:
    return LogicTask(
        dataset,
        dataset,
        seed=4,
        num_problems=6,
        dataset_config={},
        answer_format="whole_response",
        stock_scorer=stock_scorer,
    )


def attacks(marker: Path) -> list[str]:
    """Texts that create ``marker`` where they are evaluated in one of the ways in use."""
    touch = f"open({str(marker)!r}, 'w')"
    system = f"__import__('os').system('touch {marker}')"
    return [
        touch,
        system,
        f"[{touch}]",
        f"({system}, 24)[1]",
        f"[[{system}]]",
        f"x*{system}",
        f"(lambda: {touch})()",
        f"[y for y in [{touch}]]",
        f"sin({touch})",
        f"eval({system!r})",
        f"S({system!r})",
        f"x.__class__.__mro__[1].__subclasses__() and {touch}",
        f'f"{{{touch}}}"',
        f"24 if {touch} else 24",
        f"  \n{touch}",
    ]


@pytest.mark.parametrize("stock_scorer", [False, True])
@pytest.mark.parametrize("dataset", DATASETS)
def test_no_answer_runs_anything(dataset: str, stock_scorer: bool, tmp_path: Path) -> None:
    task = make_task(dataset, stock_scorer=stock_scorer)
    marker = tmp_path / "pwned"
    floor = task.score(task[0], "").reward
    for answer in attacks(marker):
        assert task.score(task[0], answer).reward == floor
        assert not marker.exists(), answer


def test_the_attacks_work_without_the_guard(tmp_path: Path) -> None:
    import reasoning_gym

    marker = tmp_path / "pwned"
    for dataset in ("puzzle24", "spiral_matrix"):
        data_set = reasoning_gym.create_dataset(dataset, seed=4, size=1)
        hits = 0
        for answer in attacks(marker):
            data_set.score_answer(answer, data_set[0])
            hits += marker.exists()
            marker.unlink(missing_ok=True)
        assert hits >= 8


@pytest.mark.parametrize("dataset", DATASETS)
def test_right_answers_and_their_layouts_keep_their_scores(dataset: str) -> None:
    task = make_task(dataset, stock_scorer=True)
    for index in range(6):
        problem = task[index]
        entry = problem.metadata["entry"]
        assert task.score(problem, problem.answer).reward == 1.0
        stock = task._dataset.score_answer
        for answer in (f" {problem.answer}\n", f"({problem.answer})", "[1, 2]", "1", "x", "1/3"):
            assert task.score(problem, answer).reward == stock(answer, entry), answer


@pytest.mark.parametrize(
    ("dataset", "answer", "is_harmless"),
    [
        ("countdown", "27*15 - (61 + 58)/3.5", True),
        ("countdown", "x", False),
        ("countdown", "1e9", False),
        ("countdown", "0x1F", False),
        ("countdown", "4!", False),
        ("countdown", "1.real", False),
        ("countdown", "(1).real", False),
        ("countdown", "٣ + 4", False),
        ("simple_integration", "-3*X**2/2 + sin(X) + C", True),
        ("simple_integration", "Integral(exp(X), X)", True),
        ("simple_integration", "X.diff()", False),
        ("simple_integration", "sinX(1)", False),
        ("simple_integration", "expand(X)", False),
        ("simple_integration", "_X", False),
        ("string_insertion", "['A', 'B']", True),
        ("string_insertion", "{'A': (1, 2.0, None)}", True),
        ("string_insertion", "list('AB')", False),
        ("string_insertion", "[0]*10**9", False),
        ("string_insertion", "(" * 5_000, False),
        ("string_insertion", "\x00", False),
    ],
)
def test_literals_and_arithmetic_over_known_names_are_harmless(
    dataset: str, answer: str, is_harmless: bool
) -> None:
    entry = {"answer": "", "metadata": {"variable": "X"}}
    assert may_be_evaluated(dataset, answer, entry) == is_harmless


def test_polynomials_may_not_be_multiplied_by_the_scorer() -> None:
    entry = {"answer": "x**2 - 1", "metadata": {"variables": ["x"]}}
    assert may_be_evaluated("polynomial_multiplication", "x**2 - 1", entry)
    assert not may_be_evaluated("polynomial_multiplication", "expand((x - 1)*(x + 1))", entry)


@pytest.mark.parametrize(
    ("dataset", "replaced"),
    [
        ("simple_integration", {"metadata": {"integrand": "open('x')", "variable": "X"}}),
        ("polynomial_multiplication", {"answer": "open('x')", "metadata": {"variables": ["x"]}}),
        ("number_sorting", {"answer": "[open('x')]", "metadata": {}}),
        ("bitwise_arithmetic", {"metadata": {"problem": "open('x')"}}),
        ("bitwise_arithmetic", {"metadata": {}}),
    ],
)
def test_an_entry_from_a_file_that_is_more_than_data_is_refused(
    dataset: str, replaced: dict[str, object]
) -> None:
    entry = {"question": "?", "answer": "1", "metadata": {}, **replaced}
    metadata = {"dataset": dataset, "config": {}, "entry": encode_entry(entry)}
    with pytest.raises(ValueError, match=r"^logic: p1: "):
        LogicFileTask("logic", [Problem("p1", "logic", "?", "1", metadata)])


def test_the_lists_are_those_of_the_library() -> None:
    """A release whose scorers evaluate more, or less, is noticed."""
    import reasoning_gym

    folder = Path(reasoning_gym.__file__).parent
    found = set()
    for path in folder.rglob("*.py"):
        text = path.read_text()
        if "eval(answer)" in text or "parse_expr(answer" in text:
            found.add(path.stem)
    assert found == EVALUATES_PYTHON | set(EVALUATES_EXPRESSION)
