"""Scores the responses of one chunk while the next one is decoded.

What a scorer says depends on problem and response only, so the order in which it is asked
changes nothing; the scores come back in the order of problems and samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Protocol

from prorl_nemo.tasks.base import Problem, Score


class Scorer(Protocol):
    """Scores responses, in order; ``tasks.reward_pool.RewardPool`` is one."""

    def score_all(self, items: Sequence[tuple[Problem, str]]) -> list[Score]: ...


class BackgroundScoring:
    """A context manager around sampling; leaving it waits for what is being scored."""

    def __init__(self, scorer: Scorer, problems: Sequence[Problem]) -> None:
        self._scorer = scorer
        self._problems = problems
        self._pending: list[list[Future[list[Score]]]] = [[] for _ in problems]
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scoring")

    def __enter__(self) -> BackgroundScoring:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread.shutdown(cancel_futures=error is not None)

    def submit(self, index: int, texts: Sequence[str]) -> None:
        """Responses to problem ``index``, behind those it was handed before."""
        items = [(self._problems[index], text) for text in texts]
        self._pending[index].append(self._thread.submit(self._scorer.score_all, items))

    def scores(self) -> list[Score]:
        """All of them, problem by problem; raises what the scorer raised."""
        return [score for parts in self._pending for part in parts for score in part.result()]
