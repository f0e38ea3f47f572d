"""Scores responses as they end, in worker processes that can be killed.

The local engine and the NeMo-RL environment actor use the same pool. Cheap tasks are
scored in the calling process; those that may hang or evaluate model text go to workers.
A stuck verifier is killed after ``timeout_seconds`` and its response gets 0; a worker
that dies otherwise is replaced and its response scored again, so none is lost.
"""

from __future__ import annotations

import json
import pickle
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType

from prorl_nemo.tasks.base import Problem, Score, Task
from prorl_nemo.tasks.reward_launcher import WorkerLauncher, WorkerSlot
from prorl_nemo.tasks.reward_metrics import TIMEOUT, MetricsRecorder, RewardMetrics
from prorl_nemo.tasks.reward_worker import score_safely
from prorl_nemo.tasks.sandbox_command import SandboxError

DEFAULT_MEMORY_BYTES = 16 << 30


@dataclass(frozen=True)
class _Job:
    problem: Problem
    response: str
    future: Future[Score] = field(default_factory=Future)


class RewardPool:
    """A context manager; ``close`` ends the workers and cancels what is not scored yet.

    Raises RewardPoolError when the workers can't load the tasks.

    ``num_workers`` processes score at once; twice the cores suits sandboxed programs,
    which sleep at times. ``timeout_seconds`` of wall time bound one response; keep it
    above the tasks' own limits, which are finer. ``worker_memory_bytes`` bound the
    address space of one worker.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        num_workers: int,
        timeout_seconds: float = 60.0,
        worker_memory_bytes: int = DEFAULT_MEMORY_BYTES,
    ) -> None:
        if num_workers < 1 or timeout_seconds <= 0:
            raise ValueError("a reward pool needs num_workers >= 1 and timeout_seconds > 0")
        self._tasks = {task.name: task for task in tasks}
        if len(self._tasks) != len(tasks):
            raise ValueError("two tasks of a reward pool have the same name")
        self._timeout_seconds = timeout_seconds
        self._metrics = MetricsRecorder()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        isolated = {name: task for name, task in self._tasks.items() if task.needs_isolation}
        self._launcher = WorkerLauncher(
            isolated, timeout_seconds=timeout_seconds, memory_bytes=worker_memory_bytes
        )
        self._threads = [
            threading.Thread(target=self._work, name=f"rewards-{index}", daemon=True)
            for index in range(num_workers if isolated else 0)
        ]
        self._is_closed = False
        if isolated:
            self._launcher.start_server()
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> RewardPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def submit(self, problem: Problem, response: str) -> Future[Score]:
        """Score ``response`` while the caller goes on.

        The future raises SandboxError or RewardPoolError when the machine, not the
        response, is at fault. ValueError for a problem of a task the pool has not got.
        """
        if self._is_closed:
            raise ValueError("the reward pool is closed")
        task = self._tasks.get(problem.task)
        if task is None:
            known = ", ".join(sorted(self._tasks))
            raise ValueError(f"{problem.problem_id}: no task {problem.task!r}; known: {known}")
        job = _Job(problem, response)
        if task.needs_isolation:
            self._jobs.put(job)
            return job.future
        started = time.monotonic()
        score = score_safely(task, problem, response)
        self._record(problem, score, started=started)
        job.future.set_result(score)
        return job.future

    def score_all(self, items: Sequence[tuple[Problem, str]]) -> list[Score]:
        """Score (problem, response) pairs; the scores come in the same order."""
        futures = [self.submit(problem, response) for problem, response in items]
        return [future.result() for future in futures]

    def take_metrics(self) -> RewardMetrics:
        """What happened since the last call."""
        return self._metrics.take()

    def close(self) -> None:
        """End the workers; safe to call again."""
        if self._is_closed:
            return
        self._is_closed = True
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is not None:
                job.future.cancel()
        for _ in self._threads:
            self._jobs.put(None)
        self._launcher.close()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        """One thread drives one worker process at a time."""
        slot = WorkerSlot(self._launcher, self._metrics.record_restart)
        while (job := self._jobs.get()) is not None:
            if not job.future.set_running_or_notify_cancel():
                continue
            try:
                job.future.set_result(self._score(job, slot))
            except Exception as error:  # whatever it is, the caller waits for an answer
                job.future.set_exception(error)

    def _score(self, job: _Job, slot: WorkerSlot) -> Score:
        request = pickle.dumps((job.problem, job.response))
        started = time.monotonic()
        try:
            score = _read_score(slot.ask(request, timeout_seconds=self._timeout_seconds))
        except TimeoutError:
            score = Score(0.0, TIMEOUT)
        except ChildProcessError:
            score = Score(0.0, "verifier_died")
        self._record(job.problem, score, started=started)
        return score

    def _record(self, problem: Problem, score: Score, *, started: float) -> None:
        busy_seconds = time.monotonic() - started
        self._metrics.record_score(problem.task, score, busy_seconds=busy_seconds)


def _read_score(reply: bytes) -> Score:
    answer: Mapping[str, object] = json.loads(reply)
    if "sandbox_error" in answer:
        raise SandboxError(str(answer["sandbox_error"]))
    return Score(**answer)  # type: ignore[arg-type]
