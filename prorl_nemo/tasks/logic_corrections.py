"""Scorers of reasoning_gym 0.1.25 that reward wrong answers, corrected.

The stock scorer stays available (``stock_scorer: true``), because published numbers were
made with it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

StockScorer = Callable[[str, dict[str, Any]], float]
CorrectedScorer = Callable[[str, dict[str, Any], StockScorer], float]

TRUTH_VALUES = {"true": True, "false": False}
# What the stock scorer gives an answer that is wrong.
PUZZLE24_FLOOR = 0.01
NUMBER = r"(?:\d{1,30}(?:\.\d{1,30})?|\.\d{1,30})(?:e[+-]?\d{1,2})?"
NUMBER_OR_FRACTION = re.compile(rf"\s*({NUMBER})(?:\s*/\s*(\d{{1,30}}))?\s*", re.IGNORECASE)


def score_game_of_life_halting(answer: str, entry: dict[str, Any], stock: StockScorer) -> float:
    """1 for the right truth value.

    The stock scorer compares bool("True") with bool("False"): any non-empty answer gets 1.
    """
    said = TRUTH_VALUES.get(answer.strip().lower())
    return float(said is not None and said == TRUTH_VALUES[str(entry["answer"]).lower()])


def score_complex_arithmetic(answer: str, entry: dict[str, Any], stock: StockScorer) -> float:
    """The stock score, which decays with the distance, but 0 for nan and inf.

    The stock scorer gives nan full marks, because min(1.0, nan) is 1.0.
    """
    return 0.0 if re.search("nan|inf", answer, re.IGNORECASE) else stock(answer, entry)


def score_coin_flip(answer: str, entry: dict[str, Any], stock: StockScorer) -> float:
    """1 within a relative error of 1e-4, for a decimal or a fraction.

    The stock scorer allows an absolute error of 1e-4, so that "0" passes for most items, and
    hangs on "1e999999999".
    """
    match = NUMBER_OR_FRACTION.fullmatch(answer.replace(",", ""))
    if match is None or (match[2] is not None and int(match[2]) == 0):
        return 0.0
    said = float(match[1]) / float(match[2] or 1)
    return float(math.isclose(said, float(entry["answer"]), rel_tol=1e-4))


def score_propositional_logic(answer: str, entry: dict[str, Any], stock: StockScorer) -> float:
    """The stock score, but 0 for what is no formula over the problem's variables.

    The stock scorer takes any text without capitals for a variable, and pays 0.25 for it where
    the premises contradict each other.
    """
    variables = re.escape("".join(entry["metadata"]["variables"]))
    is_formula = re.fullmatch(rf"[{variables}¬∧∨→↔()\s]+", answer) and answer.strip("() \n")
    return stock(answer, entry) if is_formula else 0.0


def score_puzzle24(answer: str, entry: dict[str, Any], stock: StockScorer) -> float:
    """The stock score, but full marks only for exactly 24 made of exactly the given numbers.

    The stock scorer takes any four numbers, so that 6*4*1*1 solves every puzzle, and cuts 24.5
    down to 24.
    """
    reward = stock(answer, entry)
    if reward < 1.0:
        return reward
    used = sorted(int(digits) for digits in re.findall(r"\d+", answer))
    import sympy  # type: ignore[import-untyped]  # reasoning_gym has loaded it

    # Harmless: the stock scorer evaluated it too.
    is_solved = used == sorted(entry["metadata"]["numbers"]) and sympy.parse_expr(answer) == 24
    return 1.0 if is_solved else PUZZLE24_FLOOR


def score_integration(answer: str, entry: dict[str, Any], stock: StockScorer) -> float:
    """The stock score, but 0 for an unevaluated integral where the data set's answer has none.

    The stock scorer differentiates the answer, so that writing the problem down as
    Integral(f(x), x) gets full marks.
    """
    is_unevaluated = "Integral" in answer and "Integral" not in entry["answer"]
    return 0.0 if is_unevaluated else stock(answer, entry)


CORRECTED_SCORERS: Mapping[str, CorrectedScorer] = {
    "coin_flip": score_coin_flip,
    "complex_arithmetic": score_complex_arithmetic,
    "game_of_life_halting": score_game_of_life_halting,
    "intermediate_integration": score_integration,
    "propositional_logic": score_propositional_logic,
    "puzzle24": score_puzzle24,
    "simple_integration": score_integration,
}
