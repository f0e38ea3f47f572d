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
    is_formula = re.fullmatch(rf"[{variables}¬∧∨→↔()\s]+", answer) is not None
    return stock(answer, entry) if is_formula else 0.0


CORRECTED_SCORERS: Mapping[str, CorrectedScorer] = {
    "coin_flip": score_coin_flip,
    "complex_arithmetic": score_complex_arithmetic,
    "game_of_life_halting": score_game_of_life_halting,
    "propositional_logic": score_propositional_logic,
}
