"""The runs of a campaign, and which one is current.

The paper trains in eight runs; each changes data, penalties, group size or context. Steps
are counted through the whole campaign, so a step belongs to exactly one run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prorl_nemo.config_campaign import RunConfig


@dataclass(frozen=True)
class ScheduledRun:
    """One run and the steps it owns: ``start_step`` < step <= ``end_step``."""

    index: int
    name: str
    start_step: int
    end_step: int
    reset_at_start: bool


def schedule_runs(runs: Sequence[RunConfig]) -> tuple[ScheduledRun, ...]:
    """Lay the runs end to end, the first behind step 0."""
    scheduled: list[ScheduledRun] = []
    start = 0
    for index, run in enumerate(runs):
        end = start + run.num_steps
        scheduled.append(ScheduledRun(index, run.name, start, end, run.reset_at_start))
        start = end
    return tuple(scheduled)


def current_run(runs: Sequence[ScheduledRun], *, completed_steps: int) -> ScheduledRun | None:
    """The run that does the next step, or None when the campaign is finished."""
    return next((run for run in runs if completed_steps < run.end_step), None)
