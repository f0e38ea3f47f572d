"""One look per model, readable on white."""

from __future__ import annotations

import itertools

from prorl_nemo.evaluation.drawing import spread_apart
from prorl_nemo.evaluation.palette import INK, MUTED, RESET, model_label, model_styles


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_every_colour_has_the_contrast_of_readable_text() -> None:
    styles = model_styles([f"m{i}" for i in range(7)])
    for colour in [s.colour for s in styles.values()] + [INK, MUTED, RESET]:
        assert 1.05 / (luminance(colour) + 0.05) >= 4.5


def test_up_to_seven_models_look_different_even_without_colour() -> None:
    styles = model_styles([f"m{i}" for i in range(7)]).values()
    assert len({s.colour for s in styles}) == 7
    assert len({s.marker for s in styles}) == 7


def test_base_and_final_keep_their_look() -> None:
    few, many = model_styles(["base", "final"]), model_styles(["base", "step_000120", "final"])
    assert few["base"] == many["base"]
    assert few["final"] == many["final"]
    assert model_label("step_000120") == "step 120"
    assert model_label("Qwen_step") == "Qwen_step"


def test_labels_are_spread_and_stay_inside() -> None:
    placed = spread_apart([0.99, 1.0, 0.98, 0.2], gap=0.1)
    assert placed[3] == 0.2
    assert all(0 <= p <= 1 for p in placed)
    for one, other in itertools.combinations(placed, 2):
        assert abs(one - other) >= 0.1 - 1e-12
    assert placed[2] < placed[0] < placed[1]  # order kept
