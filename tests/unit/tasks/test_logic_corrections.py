"""The corrected scorers beside the stock ones: what the stock ones pay for, ours do not."""

from __future__ import annotations

import pytest

from prorl_nemo.tasks.base import Problem
from prorl_nemo.tasks.logic import LogicTask
from prorl_nemo.tasks.logic_corrections import CORRECTED_SCORERS


def pair(dataset: str, **config: object) -> tuple[LogicTask, LogicTask]:
    """The corrected and the stock task."""
    made = [
        LogicTask(
            dataset,
            dataset,
            seed=3,
            num_problems=20,
            dataset_config=config,
            answer_format="whole_response",
            stock_scorer=stock,
        )
        for stock in (False, True)
    ]
    return made[0], made[1]


@pytest.mark.parametrize("dataset", sorted(set(CORRECTED_SCORERS) - {"propositional_logic"}))
def test_the_right_answer_pays_under_both(dataset: str) -> None:
    corrected, stock = pair(dataset)
    for index in range(8):
        problem = corrected[index]
        assert corrected.score(problem, problem.answer).reward == 1.0
        assert stock.score(problem, problem.answer).reward == 1.0


def test_game_of_life_halting_tells_true_from_false() -> None:
    corrected, stock = pair("game_of_life_halting")
    for index in range(8):
        problem = corrected[index]
        wrong = "False" if problem.answer == "True" else "True"
        assert stock.score(problem, wrong).reward == 1.0  # the bug
        assert corrected.score(problem, wrong).reward == 0.0
        assert corrected.score(problem, problem.answer.lower()).reward == 1.0
        for junk in ("", "x", "yes", "True or False"):
            assert corrected.score(problem, junk).reward == 0.0


def test_propositional_logic_wants_a_formula() -> None:
    corrected, stock = pair("propositional_logic")
    for junk in ("x", "1", "\x00", "anything"):
        assert max(stock.score(stock[i], junk).reward for i in range(20)) == 0.25  # the bug
        assert not any(corrected.score(corrected[i], junk).reward for i in range(20))
    rewards = []
    for index in range(20):
        problem = corrected[index]
        example = problem.metadata["entry"]["metadata"]["example_answer"]  # type: ignore[index]
        for answer in (example, f" ({example}) ", "P", "P ∨ ¬P", "¬"):
            score = corrected.score(problem, answer)
            assert score == stock.score(problem, answer)
            rewards.append(score.reward)
    assert {0.0, 0.05, 0.25, 1.0} == set(rewards)


def test_complex_arithmetic_does_not_pay_nan() -> None:
    corrected, stock = pair("complex_arithmetic")
    problem = corrected[0]
    assert stock.score(problem, "nan").reward == 1.0  # the bug
    for junk in ("nan", "NaN + nanj", "inf", "1e999", "x", ""):
        assert corrected.score(problem, junk).reward == 0.0


def test_coin_flip_wants_the_probability() -> None:
    corrected, stock = pair("coin_flip")
    paid_for_zero = sum(stock.score(stock[i], "0").reward == 1.0 for i in range(20))
    assert paid_for_zero > 10  # the bug
    for index in range(20):
        problem = corrected[index]
        assert corrected.score(problem, "0").reward == float(float(problem.answer) == 0.0)
        for junk in ("", "x", "-1", "1/0", "1e999999999", "9" * 100, "1/2/3"):
            assert corrected.score(problem, junk).reward == 0.0


def test_coin_flip_takes_fractions_and_thousands() -> None:
    entry = {"answer": "0.25"}
    score = CORRECTED_SCORERS["coin_flip"]
    for answer, reward in (("1/4", 1.0), (" 0.25 ", 1.0), (".25", 1.0), ("1,000/4,000", 1.0),
                           ("0.25001", 1.0), ("0.2501", 0.0), ("0.2499", 0.0)):  # fmt: skip
        assert score(answer, entry, lambda *_: 0.0) == reward


def test_puzzle24_wants_the_given_numbers_and_exactly_24() -> None:
    corrected, stock = pair("puzzle24")
    for index in range(8):
        problem = corrected[index]
        for cheat in ("6*4*1*1", "3*8*1*1", "49/2-0*1"):
            used = sorted(int(digit) for digit in cheat if digit.isdigit())
            given = sorted(problem.metadata["entry"]["metadata"]["numbers"])  # type: ignore[index]
            if used != given:
                assert corrected.score(problem, cheat).reward == 0.01
        assert stock.score(problem, "6*4*1*1").reward == 1.0  # the bug
    entry = {"answer": "", "metadata": {"numbers": [5, 5, 1, 2]}}
    problem = Problem("p", "puzzle24", "?", "", {"entry": entry})
    assert stock.score(problem, "5*5 - 1/2").reward == 1.0  # 24.5, cut down
    assert corrected.score(problem, "5*5 - 1/2").reward == 0.01
    assert corrected.score(problem, "5*5 - 2 + 1").reward == 1.0


@pytest.mark.parametrize("dataset", ["simple_integration", "intermediate_integration"])
def test_a_problem_written_down_again_is_not_its_solution(dataset: str) -> None:
    corrected, stock = pair(dataset)
    for index in range(8):
        problem = corrected[index]
        metadata = problem.metadata["entry"]["metadata"]  # type: ignore[index]
        echo = f"Integral({metadata['integrand']}, {metadata['variable']})"
        assert stock.score(problem, echo).reward == 1.0  # the bug
        expected = 1.0 if "Integral" in problem.answer else 0.0
        assert corrected.score(problem, echo).reward == expected
