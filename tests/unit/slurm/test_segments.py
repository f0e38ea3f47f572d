from __future__ import annotations

from pathlib import Path

import pytest

from prorl_nemo.slurm.segments import (
    Segment,
    describe_campaign,
    job_name,
    queue_state,
    read_segments,
)

TABLE = """\
job restart frozen nodes gpus started ended outcome exit_code step_before step_after progress log
17 0 001 n[1-4] 32 1000 4600 yielded 0 -1 40 yes 17.0
18 1 001 n[1-4] 32 5000 6800 lost - 40 60 yes 18.1
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "slurm" / "001").mkdir(parents=True)
    words = ["/run", "/work", "local", "prorl-run-1234", "/usr/bin"]
    (tmp_path / "slurm" / "001" / "state").write_text("\0".join(words) + "\0")
    (tmp_path / "slurm" / "segments.tsv").write_text(TABLE.replace(" ", "\t"))
    return tmp_path


def test_rows_become_segments(root: Path) -> None:
    first, second = read_segments(root)
    assert first == Segment(
        job="17",
        restart=0,
        frozen="001",
        nodes="n[1-4]",
        gpus=32,
        started=1000,
        ended=4600,
        outcome="yielded",
        exit_code=0,
        step_before=-1,
        step_after=40,
        has_progress=True,
        log="17.0",
    )
    assert first.gpu_hours == 32.0
    assert (second.outcome, second.exit_code) == ("lost", None)


def test_a_run_directory_without_slurm_has_none(tmp_path: Path) -> None:
    assert read_segments(tmp_path) == ()
    assert job_name(tmp_path) is None
    assert queue_state(tmp_path) is None
    assert describe_campaign(tmp_path) == {}


def test_campaign_shows_failures_and_hours(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # no squeue here
    (root / "slurm" / "bad_nodes.tsv").write_text("n7\t1\t17.0\tclock\nn2\t1\t17.0\tdisk\n")
    campaign = describe_campaign(root)
    assert campaign["gpu_hours"] == 48.0
    assert campaign["last_failures"] == ["18.1: lost at step 60"]
    assert campaign["bad_nodes"] == ["n2", "n7"]
    assert campaign["queue"] is None
    assert campaign["gpu_hours_left"] is None  # the trainer has left no configuration yet
