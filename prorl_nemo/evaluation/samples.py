"""Samples of an evaluation, read back from JSONL into arrays and checked.

A file holds the samples of one model on one benchmark, in chunks, in any order; its
settings lie beside it (see sample_files.py, which writes both). An evaluation that was
interrupted is a correct state: it is returned as `IncompleteSamples` and never averaged.
Anything else that is not whole (a damaged line, a sample twice, lists of unequal length,
settings that differ between models) is a ValueError naming file and line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prorl_nemo.evaluation.sample_files import (
    SampleChunk,
    SampleMeta,
    iter_chunks,
    meta_path,
    read_meta,
)

# What must agree before two models are drawn on one axis.
_SHARED_SETTINGS = (
    "task",
    "role",
    "sweep_value",
    "sweep_group",
    "num_problems",
    "num_samples",
    "temperature",
    "top_p",
    "max_new_tokens",
)


@dataclass(frozen=True)
class SampleSet:
    """All samples of one model on one benchmark, problems in sorted order of their id."""

    path: Path
    meta: SampleMeta
    problem_ids: tuple[str, ...]  # P
    rewards: NDArray[np.float64]  # [P, N], in [0, 1]
    num_tokens: NDArray[np.int64]  # [P, N]
    truncated: NDArray[np.bool_]  # [P, N]

    @property
    def num_problems(self) -> int:
        return len(self.problem_ids)

    @property
    def num_samples(self) -> int:
        return int(self.rewards.shape[1])


@dataclass(frozen=True)
class IncompleteSamples:
    """An evaluation that has not ended; `prorl evaluate` with the same arguments goes on."""

    path: Path
    meta: SampleMeta
    num_done: int  # samples, of num_problems * num_samples
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """What a directory of samples holds: whole sets, by benchmark then model, and the rest."""

    complete: tuple[SampleSet, ...]
    incomplete: tuple[IncompleteSamples, ...]

    def benchmarks(self) -> dict[str, tuple[SampleSet, ...]]:
        """Sets of each benchmark, models in the order of training."""
        names = sorted({s.meta.benchmark for s in self.complete})
        return {n: tuple(s for s in self.complete if s.meta.benchmark == n) for n in names}

    def models(self) -> tuple[str, ...]:
        """Names of all models seen, base first."""
        metas = [s.meta for s in self.complete] + [s.meta for s in self.incomplete]
        return tuple(dict.fromkeys(m.model for m in sorted(metas, key=_model_key)))


def read_samples(path: Path) -> SampleSet | IncompleteSamples:
    """Read one file of samples; ValueError, with file and line, where it is damaged."""
    meta = read_meta(meta_path(path))
    chunks: dict[str, list[tuple[int, SampleChunk]]] = {}
    is_torn = False
    for line_number, chunk in iter_chunks(path):
        if chunk is None:
            is_torn = True
            continue
        chunks.setdefault(chunk.problem_id, []).append((line_number, chunk))
    if len(chunks) > meta.num_problems:
        raise ValueError(
            f"{path}: samples of {len(chunks)} problems, settings say {meta.num_problems}"
        )
    for parts in chunks.values():
        parts.sort(key=lambda part: part[1].first_sample)
        _check_disjoint(path, parts, num_samples=meta.num_samples)
    num_done = sum(len(c.rewards) for parts in chunks.values() for _, c in parts)
    num_expected = meta.num_problems * meta.num_samples
    if num_done < num_expected:
        reason = f"{num_done} of {num_expected} samples"
        return IncompleteSamples(
            path, meta, num_done, reason + (", last line cut off" if is_torn else "")
        )
    problem_ids = tuple(sorted(chunks))
    parts_in_order = [[chunk for _, chunk in chunks[p]] for p in problem_ids]
    return SampleSet(
        path=path,
        meta=meta,
        problem_ids=problem_ids,
        rewards=np.array([[r for c in parts for r in c.rewards] for parts in parts_in_order]),
        num_tokens=np.array([[t for c in parts for t in c.num_tokens] for parts in parts_in_order]),
        truncated=np.array(
            [[t for c in parts for t in c.truncated] for parts in parts_in_order], dtype=np.bool_
        ),
    )


def read_evaluation(directories: Sequence[Path]) -> Evaluation:
    """Read run directories, or folders of samples (`<model>/<benchmark>.jsonl`), together.

    Raises ValueError where two files hold the same model and benchmark, or where models
    on one benchmark differ in problems or sampling settings. A directory without any
    samples gives an empty Evaluation.
    """
    seen: dict[tuple[str, str], Path] = {}
    complete: list[SampleSet] = []
    incomplete: list[IncompleteSamples] = []
    for path in (p for directory in directories for p in _sample_paths(directory)):
        result = read_samples(path)
        key = (result.meta.model, result.meta.benchmark)
        if key in seen:
            raise ValueError(f"{path}: model {key[0]!r} on {key[1]!r} is also in {seen[key]}")
        seen[key] = path
        if isinstance(result, SampleSet):
            complete.append(result)
        else:
            incomplete.append(result)
    complete.sort(key=lambda s: (s.meta.benchmark, *_model_key(s.meta)))
    evaluation = Evaluation(tuple(complete), tuple(incomplete))
    for sets in evaluation.benchmarks().values():
        _check_comparable(sets)
    return evaluation


def iter_responses(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (problem_id, response) of every sample in a file, in file order."""
    for _, chunk in iter_chunks(path):
        if chunk is not None:
            yield from ((chunk.problem_id, response) for response in chunk.responses)


def _sample_paths(directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise ValueError(f"{directory}: no such directory")
    root = directory / "evaluation" if (directory / "evaluation").is_dir() else directory
    candidates = [*root.glob("*.jsonl"), *root.glob("*/*.jsonl")]
    return sorted(p for p in candidates if meta_path(p).exists() or p.parent != directory)


def _model_key(meta: SampleMeta) -> tuple[int, int, str]:
    return (meta.model_order, -1 if meta.step is None else meta.step, meta.model)


def _check_disjoint(
    path: Path, parts: Sequence[tuple[int, SampleChunk]], *, num_samples: int
) -> None:
    end = 0
    for line_number, chunk in parts:
        if chunk.first_sample < end:
            raise ValueError(
                f"{path}:{line_number}: sample {chunk.first_sample} of problem "
                f"{chunk.problem_id!r} is there twice"
            )
        end = chunk.first_sample + len(chunk.rewards)
        if end > num_samples:
            raise ValueError(
                f"{path}:{line_number}: {end} samples of problem {chunk.problem_id!r}, "
                f"settings say {num_samples}"
            )


def _check_comparable(sets: Sequence[SampleSet]) -> None:
    first = sets[0]
    for other in sets[1:]:
        for name in _SHARED_SETTINGS:
            mine, theirs = getattr(first.meta, name), getattr(other.meta, name)
            if mine != theirs:
                raise ValueError(
                    f"{meta_path(other.path)}: {name} is {theirs!r} but {mine!r} in "
                    f"{meta_path(first.path)}; evaluate both with the same settings"
                )
        if other.problem_ids != first.problem_ids:
            odd = sorted(set(other.problem_ids) ^ set(first.problem_ids))[0]
            raise ValueError(
                f"{other.path}: not the problems of {first.path} (the first to differ: {odd!r})"
            )
