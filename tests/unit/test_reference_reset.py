"""The reset rule, worked by hand. Each observation is (step, what it showed, expected reason)."""

from __future__ import annotations

from typing import Any

import pytest

from prorl_nemo.config import ResetConfig
from prorl_nemo.reference_reset import Observation, ResetController, ResetState

OFF: dict[str, Any] = {
    "period_steps": None,
    "patience": None,
    "min_improvement": 0.0,
    "degradation": None,
    "kl_ceiling": None,
    "entropy_floor": None,
    "min_gap_steps": 1,
    "reset_optimizer": True,
    "max_kl_after_reset": 1e-6,
}


def decide_all(
    observations: list[Observation], state: ResetState | None = None, **settings: Any
) -> list[str | None]:
    controller = ResetController(ResetConfig(**{**OFF, **settings}))
    state, reasons = state or ResetState(), []
    for seen in observations:
        state, reason = controller.decide(state, seen)
        reasons.append(reason)
    return reasons


def steps(count: int, **shown: Any) -> list[Observation]:
    return [Observation(step, **shown) for step in range(1, count + 1)]


def validations(*scores: float | None, first_step: int = 1) -> list[Observation]:
    return [
        Observation(step, validation_score=score)
        for step, score in enumerate(scores, start=first_step)
    ]


def test_without_a_trigger_nothing_happens() -> None:
    seen = [Observation(i, kl=1e9, entropy=0.0, validation_score=-i) for i in range(1, 50)]
    assert decide_all(seen) == [None] * 49


def test_period() -> None:
    assert decide_all(steps(7), period_steps=3) == [None, None, "period"] * 2 + [None]


def test_stagnation_needs_patience_validations_in_a_row() -> None:
    seen = validations(0.5, 0.4, 0.6, 0.5, 0.55, 0.58, 0.1)
    #  best:           0.5  .    0.6  1    2     3: reset, best becomes 0.58
    expected = [None, None, None, None, None, "stagnation", None]
    assert decide_all(seen, patience=3) == expected


def test_a_plateau_stagnates() -> None:
    """The same score again is no improvement, also when min_improvement is 0."""
    assert decide_all(validations(0.5, 0.5, 0.5), patience=2) == [None, None, "stagnation"]
    assert decide_all(validations(0.0, 0.0, 0.0), patience=2) == [None, None, "stagnation"]


def test_min_improvement() -> None:
    seen = validations(0.5, 0.505, 0.509, 0.511)
    assert decide_all(seen, patience=3, min_improvement=0.01) == [None] * 4
    seen = validations(0.5, 0.505, 0.509, 0.5095)
    assert decide_all(seen, patience=3, min_improvement=0.01)[-1] == "stagnation"


def test_steps_without_validation_do_not_count_as_stagnation() -> None:
    seen = validations(0.5, None, 0.4, None, None, 0.4)
    assert decide_all(seen, patience=2) == [None] * 5 + ["stagnation"]


def test_after_a_reset_patience_starts_again() -> None:
    seen = validations(0.5, 0.4, 0.4, 0.3, 0.2, 0.2)
    #                  best 1    reset, best 0.4; then 1, 2: reset, best 0.2
    expected = [None, None, "stagnation", None, "stagnation", None]
    assert decide_all(seen, patience=2) == expected


def test_degradation_is_measured_from_the_best_and_strict() -> None:
    seen = validations(0.5, 0.625, 0.5, 0.375, 0.374)
    assert decide_all(seen, degradation=0.25) == [None] * 4 + ["degradation"]


def test_degradation_starts_again_from_the_score_at_the_reset() -> None:
    seen = validations(0.75, 0.25, 0.125, -0.5)
    assert decide_all(seen, degradation=0.375) == [None, "degradation", None, "degradation"]


def test_kl_ceiling_is_strict() -> None:
    seen = [Observation(1, kl=0.1), Observation(2), Observation(3, kl=0.11)]
    assert decide_all(seen, kl_ceiling=0.1) == [None, None, "kl_ceiling"]


def test_entropy_floor_is_strict() -> None:
    seen = [Observation(1, entropy=0.2), Observation(2), Observation(3, entropy=0.19)]
    assert decide_all(seen, entropy_floor=0.2) == [None, None, "entropy_floor"]


def test_the_minimum_gap_holds_back_every_automatic_trigger() -> None:
    expected = [None, None, None, "kl_ceiling"] * 2
    assert decide_all(steps(8, kl=9.0), kl_ceiling=0.1, min_gap_steps=4) == expected
    assert decide_all(steps(5), period_steps=4, min_gap_steps=4)[3] == "period"
    held = decide_all(validations(0.5, 0.1, 0.1), degradation=0.25, min_gap_steps=3)
    assert held == [None, None, "degradation"]


def test_stagnation_within_the_gap_is_not_forgotten() -> None:
    seen = validations(0.5, 0.4, 0.4, 0.4, 0.4)
    assert decide_all(seen, patience=2, min_gap_steps=5) == [None] * 4 + ["stagnation"]


def test_a_reset_by_hand_ignores_the_gap_and_happens_once() -> None:
    seen = [
        Observation(1, request="a"),
        Observation(2, request="a"),
        Observation(3),
        Observation(4, request="a"),
        Observation(5, request="b"),
    ]
    expected = ["manual", None, None, None, "manual"]
    assert decide_all(seen, min_gap_steps=100) == expected


def test_a_reset_by_hand_restarts_the_gap_and_the_period() -> None:
    seen = [Observation(step, request="a" if step == 2 else None) for step in range(1, 7)]
    expected = [None, "manual", None, None, "period", None]
    assert decide_all(seen, period_steps=3) == expected


def test_a_request_seen_at_an_automatic_reset_counts_as_manual_once() -> None:
    seen = [Observation(1, kl=9.0, request="a"), Observation(2, kl=0.0, request="a")]
    assert decide_all(seen, kl_ceiling=0.1) == ["manual", None]


def test_a_run_boundary_resets_whatever_the_gap() -> None:
    seen = [Observation(4), Observation(4, is_run_start=True), Observation(5)]
    assert decide_all(seen, min_gap_steps=100) == [None, "run_start", None]


def test_a_run_boundary_right_behind_a_reset_resets_again() -> None:
    seen = [Observation(3), Observation(3, is_run_start=True)]
    assert decide_all(seen, period_steps=3) == ["period", "run_start"]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ({"kl": 9.0, "entropy": 0.0, "validation_score": 0.0}, "kl_ceiling"),
        ({"entropy": 0.0, "validation_score": 0.0}, "entropy_floor"),
        ({"validation_score": 0.0}, "degradation"),
        ({"validation_score": 0.5}, "stagnation"),
        ({}, "period"),
    ],
)
def test_the_most_telling_reason_is_given(shown: dict[str, Any], expected: str) -> None:
    state = ResetState(best_score=1.0, validations_without_improvement=1)
    reasons = decide_all(
        [Observation(5, **shown)],
        state,
        period_steps=5,
        patience=2,
        degradation=0.75,
        kl_ceiling=1.0,
        entropy_floor=0.1,
    )
    assert reasons == [expected]


def test_the_state_after_a_reset() -> None:
    controller = ResetController(ResetConfig(**{**OFF, "patience": 1}))
    before = ResetState(best_score=0.5, handled_request="old")
    after, reason = controller.decide(before, Observation(7, validation_score=0.4, request="new"))
    assert reason == "manual"
    assert after == ResetState(
        last_reset_step=7,
        best_score=0.4,
        validations_without_improvement=0,
        handled_request="new",
    )
