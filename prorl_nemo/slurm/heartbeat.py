"""A file that the trainer rewrites at every step, for those who wait beside it.

``RUN/heartbeat`` has one ``name=value`` per line, so that a shell script can read it. Its
age tells a hang; ``lead_seconds`` how long before a time limit the trainer must be asked to
save; ``phase`` whether the next step may take as long as it likes: between two runs of the
schedule an engine is built, and behind the last one models are evaluated.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from prorl_nemo.step_record import StepRecord

HEARTBEAT_FILE = "heartbeat"
WINDOW_STEPS = 100
Phase = Literal["train", "setup"]


def compute_lead_seconds(*, longest_step: float, longest_save: float) -> int:
    """Twice the longest wait for a step boundary and the checkpoint behind it, in seconds."""
    return math.ceil(2 * (longest_step + longest_save))


class Heartbeat:
    """A ``MetricsWriter`` that leaves the file and measures steps and saves.

    The time between two records is the save behind the first and the step of the second.
    ``run_ends`` are the steps that end a run of the schedule.
    """

    def __init__(
        self,
        root: Path,
        *,
        run_ends: Collection[int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = root / HEARTBEAT_FILE
        self._run_ends = run_ends
        self._clock = clock
        self._last: float | None = None
        # What the segment before measured counts until a hundred steps have replaced it.
        before = read_heartbeat(root)
        self._steps = _window(before, "longest_step_seconds")
        self._saves = _window(before, "longest_save_seconds")

    def write(self, record: StepRecord) -> None:
        """Note one step."""
        now, seconds = self._clock(), record.seconds.get("seconds", 0.0)
        self._steps.append(seconds)
        if self._last is not None:
            self._saves.append(max(now - self._last - seconds, 0.0))
        is_end = record.step in self._run_ends
        self._last = None if is_end else now
        self._leave(record.step, "setup" if is_end else "train")

    def close(self) -> None:
        """Nothing is held open."""

    def _leave(self, step: int, phase: Phase) -> None:
        step_seconds, save_seconds = max(self._steps), max(self._saves, default=0.0)
        lead = compute_lead_seconds(longest_step=step_seconds, longest_save=save_seconds)
        lines = (
            f"phase={phase}",
            f"step={step}",
            f"longest_step_seconds={step_seconds:.3f}",
            f"longest_save_seconds={save_seconds:.3f}",
            f"lead_seconds={lead}",
        )
        # Replaced, not flushed to disk: a lost heartbeat costs nothing.
        temporary = self._path.with_name(f".{self._path.name}")
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        temporary.replace(self._path)


def read_heartbeat(root: Path) -> dict[str, str]:
    """The pairs of the file; empty before the first step."""
    path = root / HEARTBEAT_FILE
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def _window(before: dict[str, str], name: str) -> deque[float]:
    values: Iterable[float] = [float(before[name])] if name in before else []
    return deque(values, maxlen=WINDOW_STEPS)
