from __future__ import annotations

from prorl_nemo.config_campaign import RunConfig
from prorl_nemo.run_schedule import ScheduledRun, current_run, schedule_runs


def run(name: str, num_steps: int) -> RunConfig:
    return RunConfig(name=name, num_steps=num_steps, reset_at_start=name != "a", overrides={})


def test_runs_lie_end_to_end_and_every_step_belongs_to_one() -> None:
    runs = schedule_runs([run("a", 2), run("b", 1), run("c", 3)])
    assert runs == (
        ScheduledRun(0, "a", 0, 2, False),
        ScheduledRun(1, "b", 2, 3, True),
        ScheduledRun(2, "c", 3, 6, True),
    )
    owners = [current_run(runs, completed_steps=done) for done in range(6)]
    assert [owner.name for owner in owners if owner] == ["a", "a", "b", "c", "c", "c"]
    assert current_run(runs, completed_steps=6) is None
    assert current_run(runs, completed_steps=7) is None
