"""Science answers: choices, units and short expressions."""

from collections.abc import Mapping

import pytest

from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.tasks.stem import StemTask, parse_choice
from prorl_nemo.tasks.units import parse_unit

pytest.importorskip("math_verify")
TASK = StemTask("stem", [])


def score_box(reference: str, answer: str, metadata: Mapping[str, object] | None = None) -> float:
    problem = Problem("stem/0", "stem", "?", reference, metadata or {})
    return TASK.score(problem, f"<think>A</think>So \\boxed{{{answer}}}").reward


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(B)", "B"),
        (r"\text{B}", "B"),
        (r"\textbf{(B)}", "B"),
        ("Option B", "B"),
        ("B. The cell wall", "B"),
        ("A or B", None),
        ("A, B", None),
        ("A) 5 B) 6", None),
        ("Because", None),
    ],
)
def test_a_choice_is_one_letter(text: str, letter: str | None) -> None:
    assert parse_choice(text) == letter


def test_choices_are_graded_by_letter_or_by_their_text() -> None:
    choices = {"choices": {"A": "the nucleus", "B": "the cell wall"}}
    assert score_box("B", "(B)") == 1.0
    assert score_box("B", "A") == 0.0
    assert score_box("B", "the cell wall", choices) == 1.0
    assert score_box("B", "the nucleus", choices) == 0.0


@pytest.mark.parametrize(
    ("reference", "answer", "expected"),
    [
        ("5 km", "5 m", 0.0),
        ("5 km", "5000 m", 1.0),
        (r"5\text{ km}", r"5000 \mathrm{m}", 1.0),
        (r"9.81\ \mathrm{m/s^2}", r"9.81 \text{ m s}^{-2}", 1.0),
        (r"5\ \mathrm{m\,s^{-1}}", "18 km/h", 1.0),
        (r"3.2\text{ kJ/mol}", r"3200 \text{ J mol}^{-1}", 1.0),
        ("2 joules", "2 W", 0.0),
        (r"25^\circ C", "25 K", 0.0),
        (r"25^\circ C", r"25 ^{\circ}\text{C}", 1.0),
        (r"5\text{ apples}", r"5\text{ pears}", 0.0),
        (r"4.7 \times 10^{-19} \text{ J}", r"5.1 \times 10^{-19} \text{ J}", 0.0),
        (r"4.7 \times 10^{-19} \text{ J}", r"4.7 \times 10^{-19}", 1.0),  # one side has no unit
        ("12", "12.001", 0.0),
        ("3.14", "3.1416", 1.0),  # within a thousandth of a decimal reference
        ("3.14", "3.2", 0.0),
        ("H2O", r"\mathrm{H_2O}", 1.0),
        ("CO", "CO_2", 0.0),
        (r"\frac{3}{2}RT", "1.5RT", 1.0),
        (r"\text{increases}", r"\text{decreases}", 0.0),
    ],
)
def test_quantities(reference: str, answer: str, expected: float) -> None:
    assert score_box(reference, answer) == expected


def test_units_have_dimensions_and_scales() -> None:
    newton, base = parse_unit("N"), parse_unit("kg m s^{-2}")
    assert newton == base
    assert parse_unit("kN") != newton
    assert parse_unit("J/(mol K)") == parse_unit("J mol^-1 K^-1")
    assert parse_unit("") is None
    assert parse_unit("5") is None


@pytest.mark.parametrize("response", ["", "\x00", "\ud800", "B" * 1_000_000, "\\boxed{" * 100_000])
def test_junk_is_zero(response: str) -> None:
    for reference in ("B", "5 km", r"\frac{1}{2}"):
        assert TASK.score(Problem("s", "stem", "?", reference), response).reward == 0.0


def test_unfinished_reasoning_is_counted() -> None:
    problem = Problem("s", "stem", "?", "B")
    assert TASK.score(problem, r"<think>\boxed{B}") == Score(0.0, "truncated_reasoning")
