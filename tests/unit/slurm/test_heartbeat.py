from __future__ import annotations

from pathlib import Path

from prorl_nemo.slurm.heartbeat import Heartbeat, compute_lead_seconds, read_heartbeat
from prorl_nemo.step_record import StepRecord


class Clock:
    """Tells the time that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def record(step: int, seconds: float) -> StepRecord:
    return StepRecord(step, "run", seconds={"seconds": seconds})


def test_lead_is_twice_the_longest_step_and_save() -> None:
    assert compute_lead_seconds(longest_step=60.0, longest_save=30.5) == 181


def test_a_save_is_the_time_between_records_that_no_step_took(tmp_path: Path) -> None:
    clock = Clock()
    heartbeat = Heartbeat(tmp_path, run_ends=[9], clock=clock)
    for now, step, seconds in ((100.0, 1, 8.0), (109.0, 2, 9.0), (131.0, 3, 7.0)):
        clock.now = now
        heartbeat.write(record(step, seconds))
    assert read_heartbeat(tmp_path) == {
        "phase": "train",
        "step": "3",
        "longest_step_seconds": "9.000",
        "longest_save_seconds": "15.000",  # 131 - 109 - 7, behind step 2
        "lead_seconds": "48",
    }


def test_the_end_of_a_run_is_set_up_and_its_pause_is_no_save(tmp_path: Path) -> None:
    clock = Clock()
    heartbeat = Heartbeat(tmp_path, run_ends=[1, 5], clock=clock)
    heartbeat.write(record(1, 4.0))
    assert read_heartbeat(tmp_path)["phase"] == "setup"
    clock.now = 1000.0  # an engine was built in between
    heartbeat.write(record(2, 4.0))
    assert read_heartbeat(tmp_path)["phase"] == "train"
    assert read_heartbeat(tmp_path)["longest_save_seconds"] == "0.000"


def test_the_next_segment_starts_from_what_this_one_measured(tmp_path: Path) -> None:
    Heartbeat(tmp_path, run_ends=[200]).write(record(1, 50.0))
    heartbeat = Heartbeat(tmp_path, run_ends=[200])
    heartbeat.write(record(2, 1.0))
    assert read_heartbeat(tmp_path)["longest_step_seconds"] == "50.000"
    for step in range(3, 103):  # a hundred steps later the slow one is forgotten
        heartbeat.write(record(step, 1.0))
    assert read_heartbeat(tmp_path)["longest_step_seconds"] == "1.000"


def test_no_heartbeat_before_the_first_step(tmp_path: Path) -> None:
    assert read_heartbeat(tmp_path) == {}
