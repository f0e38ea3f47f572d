"""The Slurm jobs of a campaign: what ``segments.tsv`` and the queue tell. Needs no torch."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SLURM_DIRECTORY = "slurm"
SEGMENTS_FILE = "segments.tsv"
QUEUE_TIMEOUT_SECONDS = 20


@dataclass(frozen=True)
class Segment:
    """One ended job of the chain. Times are epoch seconds; steps are those of the newest
    checkpoint, -1 when there was none; ``exit_code`` is None when the node was lost."""

    job: str
    restart: int
    frozen: str
    nodes: str
    gpus: int
    started: int
    ended: int
    outcome: str
    exit_code: int | None
    step_before: int
    step_after: int
    has_progress: bool
    log: str

    @property
    def gpu_hours(self) -> float:
        return self.gpus * (self.ended - self.started) / 3600


@dataclass(frozen=True)
class QueuedJob:
    """A job of the chain as squeue shows it; ``reason`` says why it waits, or its nodes."""

    job: str
    state: str
    reason: str


def read_segments(root: Path) -> Sequence[Segment]:
    """The rows of ``segments.tsv``, oldest first; empty when Slurm has run none."""
    path = root / SLURM_DIRECTORY / SEGMENTS_FILE
    if not path.is_file():
        return ()
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return tuple(_segment(row) for row in rows)


def queue_state(root: Path) -> Sequence[QueuedJob] | None:
    """Jobs of this campaign in the queue; None without Slurm, or when it doesn't answer."""
    name = job_name(root)
    if name is None:
        return None
    command = ["squeue", "--noheader", "--name", name, "--format", "%i\t%T\t%R"]
    try:  # status has to work where there is no Slurm, and while the controller is away
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=QUEUE_TIMEOUT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return tuple(QueuedJob(*line.split("\t", 2)) for line in answer.stdout.splitlines())


def job_name(root: Path) -> str | None:
    """The name that all segments of the campaign share; None when it was never submitted."""
    frozen = sorted((root / SLURM_DIRECTORY).glob("[0-9][0-9][0-9]/state"))
    return frozen[-1].read_bytes().split(b"\0")[3].decode() if frozen else None


def describe_campaign(root: Path) -> dict[str, object]:
    """What `prorl status` shows of a campaign under Slurm; empty for one that is not."""
    segments = read_segments(root)
    queue = queue_state(root)
    if job_name(root) is None:
        return {}
    stalled = root / SLURM_DIRECTORY / "STALLED"
    bad = root / SLURM_DIRECTORY / "bad_nodes.tsv"
    failures = [s for s in segments if s.outcome not in ("finished", "yielded", "stopped")]
    return {
        "segments": len(segments),
        "gpu_hours": sum(segment.gpu_hours for segment in segments),
        "gpu_hours_left": _gpu_hours_left(segments, root),
        "last_failures": [f"{s.log}: {s.outcome} at step {s.step_after}" for s in failures[-3:]],
        "bad_nodes": sorted({line.split("\t")[0] for line in _lines(bad)}),
        "stalled": " ".join(_lines(stalled)) or None,
        "queue": None
        if queue is None
        else [f"{job.job} {job.state.lower()} {job.reason}" for job in queue],
    }


def _gpu_hours_left(segments: Sequence[Segment], root: Path) -> float | None:
    """From GPU hours per step so far, lost and repeated work included."""
    from prorl_nemo.run_directory import CONFIG_FILE, load_frozen_config
    from prorl_nemo.run_schedule import schedule_runs

    done = max((segment.step_after for segment in segments), default=0)
    hours = sum(segment.gpu_hours for segment in segments)
    if done <= 0 or hours == 0 or not (root / CONFIG_FILE).is_file():
        return None
    last = schedule_runs(load_frozen_config(root).prorl.schedule)[-1].end_step
    return hours / done * (last - done)


def _segment(row: dict[str, str]) -> Segment:
    return Segment(
        job=row["job"],
        restart=int(row["restart"]),
        frozen=row["frozen"],
        nodes=row["nodes"],
        gpus=int(row["gpus"]),
        started=int(row["started"]),
        ended=int(row["ended"]),
        outcome=row["outcome"],
        exit_code=None if row["exit_code"] == "-" else int(row["exit_code"]),
        step_before=int(row["step_before"]),
        step_after=int(row["step_after"]),
        has_progress=row["progress"] == "yes",
        log=row["log"],
    )


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
