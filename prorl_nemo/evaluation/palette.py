"""One look per model, the same in every figure and table.

Colours have at least 4.5:1 contrast on white and stay apart for the common kinds of
colour blindness; line styles and markers repeat the distinction without colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

INK = "#1f2328"
MUTED = "#59636e"
GRID = "#e4e8ec"
RESET = "#8a3ffc"


@dataclass(frozen=True)
class ModelStyle:
    """How a model is drawn."""

    label: str
    colour: str
    dash: str  # matplotlib line style
    marker: str


_BASE = ("#6b6b6b", "--", "s")
_FINAL = ("#c2410c", "-", "o")
_BETWEEN = (
    ("#0b67b2", "-.", "D"),
    ("#00735c", ":", "^"),
    ("#8f3f97", "-.", "v"),
    ("#7a5c00", ":", "P"),
    ("#1d3f8f", "-.", "X"),
)


def model_styles(models: Sequence[str]) -> dict[str, ModelStyle]:
    """Style of each model, given all of them in the order of training, base first.

    The first is drawn as the base, the last as the final model; a single model as final.
    """
    styles: dict[str, ModelStyle] = {}
    for index, model in enumerate(models):
        if index == len(models) - 1:
            look = _FINAL
        elif index == 0:
            look = _BASE
        else:
            look = _BETWEEN[(index - 1) % len(_BETWEEN)]
        styles[model] = ModelStyle(model_label(model), *look)
    return styles


def model_label(model: str) -> str:
    """`step_000120` -> `step 120`; other names as they are."""
    prefix, _, number = model.partition("_")
    return f"step {int(number)}" if prefix == "step" and number.isdigit() else model
