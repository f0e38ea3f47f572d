"""Sample models on benchmarks into files that a killed evaluation can go on with.

The work is cut into blocks (some problems, some of their samples) that depend on the
settings only, and each block has its own seed. A block that was interrupted is sampled again
with the same result, and only what is missing is written: nothing is there twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from prorl_nemo.evaluation.sample_files import (
    SampleChunk,
    SampleMeta,
    chunk_line,
    count_done,
    meta_path,
    read_meta,
    repair_torn_tail,
    write_meta,
)
from prorl_nemo.tasks.base import Problem, Score

PROBLEMS_PER_BLOCK = 32
SAMPLES_PER_BLOCK = 16


@dataclass(frozen=True)
class SampledText:
    """One response of an evaluated model."""

    text: str
    num_tokens: int
    truncated: bool


@dataclass(frozen=True)
class SampleBlock:
    """Samples ``first_sample`` onwards of some problems, the first of which has this index."""

    problems: Sequence[Problem]
    first_problem: int
    first_sample: int
    num_samples: int


class Sampler(Protocol):
    """A loaded model that answers prompts."""

    def sample(self, block: SampleBlock, meta: SampleMeta) -> list[list[SampledText]]:
        """Responses per problem; a pure function of the arguments and the weights."""
        ...

    def close(self) -> None:
        """Free the memory of the model."""
        ...


class Scorer(Protocol):
    def score_all(self, items: Sequence[tuple[Problem, str]]) -> list[Score]: ...


Progress = Callable[[int, int], None]  # (responses done, responses in all)


def sample_benchmark(
    path: Path,
    meta: SampleMeta,
    problems: Sequence[Problem],
    *,
    sampler: Sampler,
    scorer: Scorer,
    progress: Progress,
) -> None:
    """Bring the samples file at ``path`` to ``meta.num_samples`` for every problem.

    Raises ValueError when the file was made with other settings, OSError on a full disk.
    """
    _claim(path, meta)
    done = count_done(path)
    total = meta.num_problems * meta.num_samples
    for block in _blocks(problems, meta.num_samples):
        part, first, count = block.problems, block.first_sample, block.num_samples
        missing = [problem for problem in part if done.get(problem.problem_id, 0) < first + count]
        if missing:
            responses = sampler.sample(block, meta)
            chunks = _score(part, responses, first=first, scorer=scorer)
            _append(path, [chunk for chunk, problem in chunks if problem in missing])
            done |= {problem.problem_id: first + count for problem in missing}
        progress(sum(done.values()), total)


def _claim(path: Path, meta: SampleMeta) -> None:
    """Settle the settings of the file; more samples of the same kind may be added later."""
    if meta_path(path).exists():
        found = read_meta(meta_path(path))
        as_asked = replace(found, num_samples=meta.num_samples)
        if as_asked != meta:
            raise ValueError(
                f"{path}: holds samples with other settings ({_difference(as_asked, meta)})"
            )
        grows = found.num_samples < meta.num_samples and not found.num_samples % SAMPLES_PER_BLOCK
        if not grows and found.num_samples != meta.num_samples:
            raise ValueError(
                f"{path}: holds {found.num_samples} samples per problem and can't become "
                f"{meta.num_samples} (only multiples of {SAMPLES_PER_BLOCK} can grow)"
            )
    write_meta(path, meta)
    repair_torn_tail(path)


def _difference(found: SampleMeta, asked: SampleMeta) -> str:
    return next(
        f"{name}: {value!r} there, {getattr(asked, name)!r} asked for"
        for name, value in vars(found).items()
        if value != getattr(asked, name)
    )


def _blocks(problems: Sequence[Problem], num_samples: int) -> Iterator[SampleBlock]:
    """The whole benchmark. Asking for more samples later leaves earlier blocks as they were."""
    for first_sample in range(0, num_samples, SAMPLES_PER_BLOCK):
        count = min(SAMPLES_PER_BLOCK, num_samples - first_sample)
        for start in range(0, len(problems), PROBLEMS_PER_BLOCK):
            part = problems[start : start + PROBLEMS_PER_BLOCK]
            yield SampleBlock(part, start, first_sample, count)


def _score(
    problems: Sequence[Problem],
    responses: Sequence[Sequence[SampledText]],
    *,
    first: int,
    scorer: Scorer,
) -> list[tuple[SampleChunk, Problem]]:
    pairs = list(zip(problems, responses, strict=True))
    scores = iter(
        scorer.score_all([(problem, said.text) for problem, group in pairs for said in group])
    )
    return [
        (
            SampleChunk(
                problem_id=problem.problem_id,
                first_sample=first,
                rewards=tuple(next(scores).reward for _ in group),
                responses=tuple(said.text for said in group),
                num_tokens=tuple(said.num_tokens for said in group),
                truncated=tuple(said.truncated for said in group),
            ),
            problem,
        )
        for problem, group in pairs
    ]


def _append(path: Path, chunks: Sequence[SampleChunk]) -> None:
    """One write and one flush per block."""
    with path.open("ab") as file:
        file.write(b"".join(chunk_line(chunk) for chunk in chunks))
        file.flush()
        os.fsync(file.fileno())
