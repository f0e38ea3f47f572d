"""The Task protocol: where problems come from and how a response is rewarded.

A Task is one object for the local engine, the NeMo-RL environment actor and the
evaluation. It knows nothing of models, tokenizers or training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Problem:
    """One verifiable problem.

    ``problem_id`` is unique and stable: the same id always names the same prompt and
    the same answer. ``metadata`` holds JSON values that only the task that made the
    problem reads (tests of a program, constraints, the generator's own entry).
    """

    problem_id: str
    task: str
    prompt: str
    answer: str
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """The verdict on one response.

    ``reward`` lies in [0, 1]. ``failure`` names why a verdict could not be reached
    ("verifier_error", "timeout", "truncated_reasoning", ...); the reward is then 0 and
    the failure is counted in the metrics. It is None for an ordinary verdict, right or wrong.
    """

    reward: float
    failure: str | None = None


class Task(Protocol):
    """Problems by index, and their reward.

    ``task[i]`` is a pure function of the task's configuration and ``i`` for
    0 <= i < len(task); IndexError beyond. ``score`` never raises on any response.
    ``needs_isolation`` says that ``score`` may hang or evaluate model text, so that it
    must run in a worker process that can be killed. Only SandboxError may leave ``score``: the
    machine is at fault then, not the response.
    """

    name: str
    needs_isolation: bool

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Problem: ...

    def score(self, problem: Problem, response: str) -> Score: ...


@runtime_checkable
class LoadsVerifier(Protocol):
    """A Task whose verifier takes seconds to import: loaded once, before any response's clock."""

    def load_verifier(self) -> None: ...
