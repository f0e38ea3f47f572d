"""A campaign on the test cluster: submits it, looks at it, waits for it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prorl_nemo.slurm.heartbeat import read_heartbeat
from prorl_nemo.slurm.segments import Segment, job_name, read_segments
from tests.slurm.cluster import REPOSITORY, Cluster, wait_until

CONFIG = REPOSITORY / "tests" / "slurm" / "campaign.yaml"
LAST_STEP = 22
SETTINGS = f"""\
NODES=1 TIME_LIMIT=10 CHAIN_LENGTH=2
PRORL=({sys.executable} -m prorl_nemo.cli)
LOGIN_PYTHON=({sys.executable})
MIN_FREE_GB=0 FIRST_LEAD_SECONDS=60 MIN_LEAD_SECONDS=10 TEARDOWN_SECONDS=9
"""


class Campaign:
    """A run directory ``root`` and the jobs that belong to it."""

    def __init__(self, cluster: Cluster, root: Path, settings: str = "") -> None:
        self.cluster = cluster
        self.root = root
        root.parent.mkdir(parents=True, exist_ok=True)
        self.settings = root.parent / "cluster.env"
        self.settings.write_text(SETTINGS + settings)

    def submit(
        self,
        *arguments: str,
        options: Sequence[str] = (),
        checkout: Path = REPOSITORY,
        **env: str,
    ) -> subprocess.CompletedProcess[str]:
        """submit.sh with the tiny campaign in ``root``; the result is the caller's to judge."""
        return self.cluster.run(
            checkout / "slurm" / "submit.sh",
            *("--cluster", self.settings, *options),
            CONFIG,
            f"checkpointing.checkpoint_dir={self.root}",
            *arguments,
            "--no-evaluation",
            cwd=self.root.parent,
            **env,
        )

    def start(self, *arguments: str, options: Sequence[str] = (), **env: str) -> None:
        result = self.submit(*arguments, options=options, **env)
        assert result.returncode == 0, result.stderr + result.stdout

    def queue(self, states: str = "PENDING,RUNNING,COMPLETING") -> list[tuple[str, str]]:
        """(job id, nodes or reason) of the jobs of this campaign."""
        name = job_name(self.root)
        if name is None:
            return []
        answer = self.cluster.out(
            "squeue", "--noheader", f"--name={name}", f"--states={states}", "--format=%i %R"
        )
        return [(line.split()[0], line.split(maxsplit=1)[1]) for line in answer.splitlines()]

    def running_job(self) -> str:
        wait_until(lambda: bool(self.queue("RUNNING")), f"a job of {self.root} to run")
        return self.queue("RUNNING")[0][0]

    def wait_for_step(self, step: int) -> None:
        wait_until(lambda: int(read_heartbeat(self.root).get("step", -1)) >= step, f"step {step}")

    def wait_for_segments(self, count: int) -> Sequence[Segment]:
        wait_until(lambda: len(self.segments()) >= count, f"{count} segments of {self.root}")
        return self.segments()

    def wait_until_quiet(self) -> None:
        """Until the queue holds nothing of this campaign any more."""
        wait_until(lambda: not self.queue(), f"the queue of {self.root} to be empty")

    def segments(self) -> Sequence[Segment]:
        return read_segments(self.root)

    def outcomes(self) -> list[str]:
        return [segment.outcome for segment in self.segments()]

    def record_calls(self, *, num_yields: int = 0) -> None:
        """Put the recorder in the place of `prorl`; it leaves so often before it finishes."""
        recorder = REPOSITORY / "tests" / "slurm" / "record.py"
        with self.settings.open("a") as file:
            words = f"{sys.executable} {recorder} {shlex.quote(str(self.root))} {num_yields}"
            file.write(f"PRORL=({words})\n")

    def calls(self) -> list[dict[str, Any]]:
        """What the recorder noted."""
        lines = (self.root / "calls.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the trainer of the running job meanwhile: no campaign is too short for a test."""
        driver = self.driver_pid()
        os.kill(driver, signal.SIGSTOP)
        yield
        os.kill(driver, signal.SIGCONT)

    def driver_pid(self) -> int:
        """The trainer's process as seen from outside its node."""
        nodes = self.queue("RUNNING")[0][1]
        node = self.cluster.out("scontrol", "show", "hostnames", nodes).split()[0]
        for pid, command in self.cluster.process_ids(node).items():
            words = command.split()
            if "prorl_nemo.cli" in words and "python" in words[0]:
                return pid
        raise AssertionError(f"no trainer on {node}")

    def signal(self, name: str) -> None:
        """Send the batch script of the running job a signal, as Slurm does before a limit."""
        self.cluster.out("scancel", "--batch", f"--signal={name}", self.running_job())

    def stop_everything(self) -> None:
        name = job_name(self.root)
        if name is not None:
            self.cluster.run("scancel", f"--name={name}")
            self.wait_until_quiet()

    def logs(self) -> str:
        """Every log of the campaign, for messages of failed assertions."""
        paths = sorted(self.root.glob("logs/*.*/*.log"))
        return "\n".join(f"== {path}\n{path.read_text(errors='replace')}" for path in paths)


def read_manifest(root: Path, step: int) -> dict[str, Any]:
    """Hashes of every file of a checkpoint: weights, optimizer, state."""
    path = root / "checkpoints" / f"step_{step:06d}" / "manifest.json"
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def read_steps(root: Path) -> list[int]:
    """The steps in the history; each must be there once."""
    return [json.loads(line)["step"] for line in (root / "metrics.jsonl").read_text().splitlines()]
