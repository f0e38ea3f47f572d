"""Runs `prorl` in processes of their own and compares what they left on disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from prorl_nemo.config_loading import read_yaml

REPOSITORY = Path(__file__).resolve().parents[2]
TINY_CAMPAIGN = REPOSITORY / "tests" / "support" / "tiny_campaign.yaml"
NUM_STEPS = 9
PATIENCE_SECONDS = 180.0


@dataclass(frozen=True)
class KillAt:
    """Death by SIGKILL right before the ``count``-th ``operation`` on a path with ``path``."""

    operation: str
    path: str
    count: int = 1


@dataclass(frozen=True)
class Finished:
    """Exit code (negative: the signal) and everything printed."""

    code: int
    output: str


class Process:
    """One running command."""

    def __init__(self, server: CampaignServer, pid: int, log: Path) -> None:
        self._server = server
        self._log = log
        self.pid = pid

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> Finished:
        answer = self._server.ask({"wait": self.pid})
        return Finished(answer["code"], self._log.read_text(errors="replace"))

    def kill(self) -> Finished:
        self.signal(signal.SIGKILL)
        return self.wait()


class CampaignServer:
    """Starts commands in forks of one process that has imported everything."""

    def __init__(self, scratch: Path) -> None:
        """``scratch`` gets the campaign's file with its defaults merged in."""
        self.config = scratch / "tiny_campaign.yaml"
        self.config.write_text(OmegaConf.to_yaml(read_yaml(TINY_CAMPAIGN)))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.campaign_server"],
            cwd=REPOSITORY,
            env={
                **os.environ,
                "PYTHONHASHSEED": "0",
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": str(REPOSITORY),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._num_started = 0
        assert self._read() == {"ready": True}

    def start(
        self,
        *arguments: str | Path,
        logs: Path,
        kill_at: KillAt | None = None,
        max_file_bytes: int | None = None,
    ) -> Process:
        self._num_started += 1
        log = logs / f"{self._num_started}.log"
        answer = self.ask(
            {
                "arguments": [str(argument) for argument in arguments],
                "log": str(log),
                "kill_at": vars(kill_at) if kill_at is not None else None,
                "max_file_bytes": max_file_bytes,
            }
        )
        return Process(self, answer["pid"], log)

    def train(self, root: Path, *overrides: str, **options: Any) -> Process:
        """`prorl train --no-evaluation` of the tiny campaign in ``root``."""
        return self.start(
            "train",
            "--no-evaluation",
            "--config",
            self.config,
            f"checkpointing.checkpoint_dir={root}",
            *overrides,
            logs=root.parent,
            **options,
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def finish(campaigns: CampaignServer, root: Path, *overrides: str) -> str:
    """Go on to the end; returns the output."""
    finished = campaigns.train(root, *overrides).wait()
    assert finished.code == 0, finished.output
    return finished.output


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll until ``condition`` holds; fails after a long while."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def num_rows(root: Path) -> int:
    """Rows of the history so far, step 0 included."""
    path = root / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def read_history(root: Path) -> list[dict[str, Any]]:
    """The rows without what a clock says."""
    lines = (root / "metrics.jsonl").read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if not key.endswith("seconds")}
        for line in lines
    ]


def read_manifest(root: Path, kind: str, step: int) -> dict[str, Any]:
    """Hashes of every file of a checkpoint (weights, optimizer, state) or a pin."""
    path = root / kind / f"step_{step:06d}" / "manifest.json"
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def assert_same_campaign(root: Path, expected: Path, *, step: int = NUM_STEPS) -> None:
    """Bit-identical weights, optimizer, state, pins and history."""
    assert [row["step"] for row in read_history(root)] == list(range(step + 1))
    assert read_history(root) == read_history(expected)
    assert read_manifest(root, "checkpoints", step) == read_manifest(expected, "checkpoints", step)
    pins = sorted(path.name for path in (expected / "pins").iterdir())
    assert sorted(path.name for path in (root / "pins").iterdir()) == pins
    for name in pins:
        number = int(name.removeprefix("step_"))
        assert read_manifest(root, "pins", number) == read_manifest(expected, "pins", number)


def read_state(root: Path, step: int) -> dict[str, Any]:
    """``train_state.json`` of a checkpoint."""
    path = root / "checkpoints" / f"step_{step:06d}" / "train_state.json"
    state: dict[str, Any] = json.loads(path.read_text())
    return state
