"""The endless, resumable stream of training prompts.

The n-th prompt's task is picked by weight with a low-discrepancy sequence, each task walks
through its own problems in a fresh random order per epoch, and problems whose prompt is
held out are passed over. The position is one counter per task: tasks that a later run of
the schedule adds start at their beginning, the others go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prorl_nemo.tasks.base import Problem, Task

GOLDEN_RATIO = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class WeightedTask:
    """A task and its share of the prompts relative to the others."""

    task: Task
    weight: float


class PromptStream:
    """Problems of a mixture, in an order that depends on the seed and the position only."""

    def __init__(
        self,
        tasks: Sequence[WeightedTask],
        *,
        seed: int,
        held_out_prompts: frozenset[str] = frozenset(),
        position: Mapping[str, int] | None = None,
    ) -> None:
        if not tasks:
            raise ValueError("prorl.train_tasks: the mixture is empty")
        self._tasks = {entry.task.name: entry for entry in tasks}
        self._seed = seed
        self._held_out = held_out_prompts
        self._position = dict(position or {})
        self._weights = [entry.weight for entry in tasks]

    @property
    def position(self) -> dict[str, int]:
        """Problems drawn so far, by task name."""
        return dict(self._position)

    def take(self, count: int) -> list[Problem]:
        """The next ``count`` problems; raises ValueError when a task is wholly held out."""
        return [self._next(self._task_of_turn(sum(self._position.values()))) for _ in range(count)]

    def _task_of_turn(self, turn: int) -> str:
        """Golden-ratio sequence: every stretch of turns is close to the weights."""
        share = (turn * GOLDEN_RATIO) % 1.0 * sum(self._weights)
        for name, bound in zip(self._tasks, accumulate(self._weights), strict=True):
            if share < bound:
                return name
        return name

    def _next(self, name: str) -> Problem:
        task = self._tasks[name].task
        for _ in range(len(task)):
            drawn = self._position.get(name, 0)
            self._position[name] = drawn + 1
            problem = task[self._index(drawn, len(task))]
            if problem.prompt not in self._held_out:
                return problem
        raise ValueError(f"{name}: every prompt of this task is held out for evaluation")

    def _index(self, drawn: int, size: int) -> int:
        """Index of the ``drawn``-th problem: a permutation of 0..size-1 for each epoch."""
        epoch, offset = divmod(drawn, size)
        return permuted_index(offset, size=size, seed=self._seed + epoch)


def permuted_index(index: int, *, size: int, seed: int) -> int:
    """``index`` under a seeded pseudo-random permutation of range(size), in O(1) memory.

    A four-round Feistel network on the next even power of two, walked until it lands inside
    the range (cycle walking; Black and Rogaway 2002).
    """
    half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half_bits) - 1
    while True:
        left, right = index >> half_bits, index & mask
        for round_number in range(4):
            left, right = right, left ^ (_mix(right, seed * 4 + round_number) & mask)
        index = (left << half_bits) | right
        if index < size:
            return index


def _mix(value: int, key: int) -> int:
    """A 64-bit integer hash (splitmix64's finaliser)."""
    word = (value * 0x9E3779B97F4A7C15 + key * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) % 2**64
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) % 2**64
    return word ^ (word >> 31)
