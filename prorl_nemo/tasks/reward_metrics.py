"""What the reward service did, by task: counts, failures and speed, as frozen records."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from prorl_nemo.tasks.base import Score

TIMEOUT = "timeout"


@dataclass(frozen=True)
class TaskMetrics:
    """One task's verdicts. ``failures`` counts each ``Score.failure``, time-outs included.

    ``busy_seconds`` adds up over workers: the time that scoring took.
    """

    num_scored: int
    failures: Mapping[str, int]
    busy_seconds: float

    @property
    def num_timeouts(self) -> int:
        return self.failures.get(TIMEOUT, 0)

    @property
    def num_failures(self) -> int:
        return sum(self.failures.values())

    @property
    def num_scored_per_busy_second(self) -> float:
        return self.num_scored / self.busy_seconds if self.busy_seconds > 0 else 0.0


@dataclass(frozen=True)
class RewardMetrics:
    """All tasks over ``wall_seconds``, and how many workers had to be replaced."""

    tasks: Mapping[str, TaskMetrics]
    num_worker_restarts: int
    wall_seconds: float

    def to_scalars(self) -> dict[str, float]:
        """Flat names for a logger: ``rewards/<task>/<figure>``."""
        scalars = {"rewards/num_worker_restarts": float(self.num_worker_restarts)}
        for name, task in self.tasks.items():
            scalars[f"rewards/{name}/num_scored"] = float(task.num_scored)
            scalars[f"rewards/{name}/num_timeouts"] = float(task.num_timeouts)
            scalars[f"rewards/{name}/num_failures"] = float(task.num_failures)
            scalars[f"rewards/{name}/scored_per_busy_second"] = task.num_scored_per_busy_second
        return scalars


@dataclass
class _Tally:
    num_scored: int = 0
    busy_seconds: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)


class MetricsRecorder:
    """Counts from any thread; ``take`` returns what was counted since the last call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self._tallies: dict[str, _Tally] = {}
        self._num_worker_restarts = 0
        self._started = time.monotonic()

    def record_score(self, task: str, score: Score, *, busy_seconds: float) -> None:
        with self._lock:
            tally = self._tallies.setdefault(task, _Tally())
            tally.num_scored += 1
            tally.busy_seconds += busy_seconds
            if score.failure is not None:
                tally.failures[score.failure] += 1

    def record_restart(self) -> None:
        with self._lock:
            self._num_worker_restarts += 1

    def take(self) -> RewardMetrics:
        with self._lock:
            metrics = RewardMetrics(
                tasks={
                    name: TaskMetrics(tally.num_scored, dict(tally.failures), tally.busy_seconds)
                    for name, tally in sorted(self._tallies.items())
                },
                num_worker_restarts=self._num_worker_restarts,
                wall_seconds=time.monotonic() - self._started,
            )
            self._reset()
        return metrics
