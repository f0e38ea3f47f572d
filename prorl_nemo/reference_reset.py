"""When to reset the reference: a pure state machine.

ProRL sets the reference policy to the current policy when validation stagnates or
degrades (arXiv 2505.24864, section 3.3; no numeric rule is published, so the rule here is
ours). Not here: the reset itself, which is the engine's and the checkpoint store's work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from prorl_nemo.config import ResetConfig

ResetReason = Literal[
    "manual", "run_start", "kl_ceiling", "entropy_floor", "degradation", "stagnation", "period"
]


@dataclass(frozen=True)
class ResetState:
    """What the controller remembers between steps.

    ``best_score`` is the best validation score since the last reset, or the start.
    """

    last_reset_step: int = 0
    best_score: float | None = None
    validations_without_improvement: int = 0
    handled_request: str | None = None


@dataclass(frozen=True)
class Observation:
    """What one training step showed. KL and entropy are means in nats per token."""

    step: int
    kl: float | None = None
    entropy: float | None = None
    validation_score: float | None = None
    request: str | None = None
    is_run_start: bool = False


@dataclass(frozen=True)
class ResetController:
    """Decides on a reset from observations; holds no state of its own."""

    config: ResetConfig

    def decide(self, state: ResetState, seen: Observation) -> tuple[ResetState, ResetReason | None]:
        """The state after ``seen``, and why to reset now (None: don't).

        A reset asked for by hand or by the schedule ignores the minimum gap; a request is
        honoured once, by its id.
        """
        state = self._after_validation(state, seen.validation_score)
        reason = self._reason(state, seen)
        if seen.request is not None:
            state = replace(state, handled_request=seen.request)
        if reason is None:
            return state, None
        return (
            replace(
                state,
                last_reset_step=seen.step,
                best_score=seen.validation_score,
                validations_without_improvement=0,
            ),
            reason,
        )

    def _after_validation(self, state: ResetState, score: float | None) -> ResetState:
        if score is None:
            return state
        best, rise = state.best_score, self.config.min_improvement
        if best is None or (score > best and score >= best + rise):
            return replace(state, best_score=score, validations_without_improvement=0)
        return replace(
            state, validations_without_improvement=state.validations_without_improvement + 1
        )

    def _reason(self, state: ResetState, seen: Observation) -> ResetReason | None:
        if seen.request is not None and seen.request != state.handled_request:
            return "manual"
        if seen.is_run_start:
            return "run_start"
        if seen.step - state.last_reset_step < self.config.min_gap_steps:
            return None
        return self._automatic_reason(state, seen)

    def _automatic_reason(self, state: ResetState, seen: Observation) -> ResetReason | None:
        config = self.config
        if _exceeds(seen.kl, config.kl_ceiling):
            return "kl_ceiling"
        if _falls_below(seen.entropy, config.entropy_floor):
            return "entropy_floor"
        if (
            config.degradation is not None
            and state.best_score is not None
            and _falls_below(seen.validation_score, state.best_score - config.degradation)
        ):
            return "degradation"
        if (
            config.patience is not None
            and seen.validation_score is not None
            and state.validations_without_improvement >= config.patience
        ):
            return "stagnation"
        if (
            config.period_steps is not None
            and seen.step - state.last_reset_step >= config.period_steps
        ):
            return "period"
        return None


def _exceeds(value: float | None, ceiling: float | None) -> bool:
    return value is not None and ceiling is not None and value > ceiling


def _falls_below(value: float | None, floor: float | None) -> bool:
    return value is not None and floor is not None and value < floor
