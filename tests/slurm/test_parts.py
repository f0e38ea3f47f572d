"""The parts in slurm/lib that need no cluster, called from Bash as the scripts call them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[2] / "slurm" / "lib"


def bash(code: str, run_dir: Path) -> str:
    """The output of ``code`` behind all parts; the run directory belongs to segment 17.0."""
    (run_dir / "slurm").mkdir(exist_ok=True)
    sources = "; ".join(f"source {part}" for part in sorted(LIBRARY.glob("*.sh")))
    state = f"RUN_DIR='{run_dir}' SLURM_DIR='{run_dir}/slurm' LOG_NAME=17.0"
    finished = subprocess.run(
        ["bash", "-c", f"set -uo pipefail; {sources}; load_settings ''; {state}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return finished.stdout.strip()


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [
        ("90", 5400),
        ("08:30", 510),
        ("04:00:00", 14400),
        ("1-2", 26 * 3600),
        ("1-2:30", 26 * 3600 + 1800),
        ("1-02:03:04", 93784),
        ("UNLIMITED", 0),
    ],
)
def test_time_limits_as_sbatch_takes_them(tmp_path: Path, limit: str, seconds: int) -> None:
    assert bash(f"limit_seconds {limit}", tmp_path) == str(seconds)


def test_the_warning_of_slurm_never_comes_at_the_start(tmp_path: Path) -> None:
    assert bash("signal_seconds", tmp_path) == "600"
    assert bash("TIME_LIMIT=10; signal_seconds", tmp_path) == "300"
    (tmp_path / "heartbeat").write_text("lead_seconds=1000\n")
    assert bash("signal_seconds", tmp_path) == "1045"  # and TEARDOWN_SECONDS


def test_a_heartbeat_is_data(tmp_path: Path) -> None:
    (tmp_path / "heartbeat").write_text("lead_seconds=a[$(touch hit)]\n")
    assert bash(f"cd '{tmp_path}'; lead_seconds", tmp_path) == "600"
    assert not (tmp_path / "hit").exists()


def test_a_segment_closes_no_row_but_its_own(tmp_path: Path) -> None:
    current = tmp_path / "slurm" / "current"
    current.parent.mkdir()
    current.write_text("18 0 001 n1 8 1000 -1 none:0 18.0\n".replace(" ", "\t"))
    bash('close_segment terminated 143 "$LOG_NAME"', tmp_path)
    assert current.exists()
    bash("close_segment lost -", tmp_path)  # a successor may
    assert not current.exists()
    header, row = (tmp_path / "slurm" / "segments.tsv").read_text().splitlines()
    named = dict(zip(header.split("\t"), row.split("\t"), strict=True))
    assert (named["job"], named["outcome"], named["progress"]) == ("18", "lost", "no")


def test_the_watchdog_needs_no_clock_of_a_file_server(tmp_path: Path) -> None:
    """The file's time stamps are an hour behind; its changes are what counts."""
    beat = 'echo phase=train >"$RUN_DIR/heartbeat"; touch -d \'1 hour ago\' "$RUN_DIR/heartbeat"; '
    watch = "VERDICT=ended HANG_SECONDS=1 BEAT=$(heartbeat_mark) BEAT_AT=$SECONDS HAS_BEATEN=no; "
    look = "follow_heartbeat; echo $VERDICT; "
    assert bash(f"{beat}{watch}sleep 3; {look}", tmp_path) == "ended", "there was no step yet"
    words = bash(f"{watch}{beat}{look}sleep 3; {look}", tmp_path).split()
    assert words == ["ended", "hang"]
    words = bash(f"{watch}{beat}{look}sleep 3; {beat}{look}", tmp_path).split()
    assert words == ["ended", "ended"]
    assert bash(f"{watch}SETUP_TIMEOUT_SECONDS=1; sleep 3; {look}", tmp_path) == "setup"
