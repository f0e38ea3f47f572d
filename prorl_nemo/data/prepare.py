"""Makes the local mixture: rows to problems, without repetitions and evaluation problems.

Per task, two passes over the source keep memory small: the first decides by each problem's id
which are used, the second writes them. A task whose file is intact and was made from the same
things is left alone, so an interrupted preparation goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from prorl_nemo.data.decontamination import EvaluationIndex, hash_prompt
from prorl_nemo.data.mixture_files import (
    TaskFile,
    is_intact,
    open_atomic,
    read_manifest,
    write_manifest,
)
from prorl_nemo.data.problem_files import format_row
from prorl_nemo.data.source_files import hash_file, locate_files, read_rows
from prorl_nemo.data.source_rows import BOXED_INSTRUCTION, CODE_INSTRUCTION, SkippedRow
from prorl_nemo.data.sources import SOURCES, Source
from prorl_nemo.tasks.base import Problem

PROGRESS_ROWS = 100

ProgressCallback = Callable[[str, str, int], None]
"""Called with the task, the stage ("reading" or "writing") and the number of rows so far."""


@dataclass(frozen=True)
class TaskInput:
    """Where a task's problems come from: ``read`` can be called again, ``described`` is JSON."""

    task: str
    described: dict[str, object]
    num_requested: int | None
    read: Callable[[], Iterator[Problem | SkippedRow]]


@dataclass
class _Selection:
    """What the first pass found: who is eligible, and what became of the others."""

    rank_by_id: dict[str, bytes] = field(default_factory=dict)
    prompts: set[bytes] = field(default_factory=set)
    num_duplicates: int = 0
    num_skipped: Counter[str] = field(default_factory=Counter)
    num_contaminated: Counter[str] = field(default_factory=Counter)


def prepare_mixture(
    folder: Path,
    *,
    tasks: Iterable[str] | None = None,
    sources: Mapping[str, Source] = SOURCES,
    evaluation_sets: Mapping[str, Iterable[str]] | None = None,
    counts: Mapping[str, int] | None = None,
    generated: Mapping[str, TaskInput] | None = None,
    local_folder: Path | None = None,
    seed: int = 0,
    on_progress: ProgressCallback | None = None,
) -> dict[str, TaskFile]:
    """Writes ``<task>.jsonl`` for each task and the manifest into ``folder``; returns its entries.

    ``evaluation_sets`` are problem statements by the name of their set: no training prompt may
    overlap with one. ``counts`` replaces the paper's number of problems of a task;
    ``generated`` are the tasks that have no source (logic). ``local_folder``
    holds the sources' files where there is no network. ValueError for an unknown task, a
    missing file, and, naming file and row, a source whose schema has changed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generated = generated or {}
    index = EvaluationIndex(
        evaluation_sets or {}, boilerplate=(BOXED_INSTRUCTION, CODE_INSTRUCTION)
    )
    for task in tasks if tasks is not None else {**sources, **generated}:
        if task in generated:
            task_input = generated[task]
        elif task in sources:
            task_input = _source_input(sources[task], local_folder)
        else:
            raise ValueError(f"no source for task {task!r}; there are {', '.join(sources)}")
        if counts and task in counts:
            task_input = replace(task_input, num_requested=counts[task])
        _prepare_task(folder, task_input, index, seed, on_progress)
    return read_manifest(folder)


def _prepare_task(
    folder: Path,
    task_input: TaskInput,
    index: EvaluationIndex,
    seed: int,
    on_progress: ProgressCallback | None,
) -> None:
    task = task_input.task
    recipe = _digest_recipe(task_input, index, seed)
    manifest = read_manifest(folder)
    existing = manifest.get(task)
    if existing and existing.recipe == recipe and is_intact(folder, existing):
        return
    selection = _select(_report(task_input, "reading", on_progress), index, seed)
    ranked = sorted(selection.rank_by_id, key=selection.rank_by_id.__getitem__)
    chosen = set(ranked[: task_input.num_requested])
    path = folder / f"{task}.jsonl"
    _write(path, _report(task_input, "writing", on_progress), set(chosen))
    manifest[task] = TaskFile(
        file=path.name,
        sha256=hash_file(path),
        num_problems=len(chosen),
        num_requested=task_input.num_requested,
        recipe=recipe,
        source=task_input.described,
        num_duplicates=selection.num_duplicates,
        num_skipped=dict(selection.num_skipped),
        num_contaminated=dict(selection.num_contaminated),
    )
    write_manifest(folder, manifest)


def _source_input(source: Source, local_folder: Path | None) -> TaskInput:
    files = locate_files(source, local_folder=local_folder)

    def read() -> Iterator[Problem | SkippedRow]:
        for path in files.values():
            for where, row in read_rows(path):
                try:
                    yield source.convert(row)
                except ValueError as error:
                    raise ValueError(f"{where}: {error}") from error

    described: dict[str, object] = {
        "repository": source.repository,
        "revision": source.revision if local_folder is None else "local",
        "files": {name: hash_file(path) for name, path in files.items()},
        "licence": source.licence,
    }
    return TaskInput(source.task, described, source.num_problems, read)


def _digest_recipe(task_input: TaskInput, index: EvaluationIndex, seed: int) -> str:
    recipe = [task_input.described, task_input.num_requested, seed, index.fingerprint()]
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def _select(rows: Iterable[Problem | SkippedRow], index: EvaluationIndex, seed: int) -> _Selection:
    """Ranks eligible problems by a hash, so that the choice depends on no order of rows."""
    selection = _Selection()
    for row in rows:
        if isinstance(row, SkippedRow):
            selection.num_skipped[row.reason] += 1
            continue
        prompt = hash_prompt(row.prompt)
        if prompt in selection.prompts:
            selection.num_duplicates += 1
            continue
        selection.prompts.add(prompt)
        if evaluation_set := index.find_overlap(row.prompt):
            selection.num_contaminated[evaluation_set] += 1
            continue
        rank = hashlib.sha256(f"{seed}:{row.problem_id}".encode()).digest()
        selection.rank_by_id[row.problem_id] = rank
    return selection


def _write(path: Path, rows: Iterable[Problem | SkippedRow], chosen: set[str]) -> None:
    """Writes each chosen problem once, in the source's order. Empties ``chosen``."""
    with open_atomic(path) as file:
        for row in rows:
            if isinstance(row, Problem) and row.problem_id in chosen:
                chosen.remove(row.problem_id)
                file.write(format_row(row))
    assert not chosen, "a source yielded different rows the second time"


def _report(
    task_input: TaskInput, stage: str, on_progress: ProgressCallback | None
) -> Iterator[Problem | SkippedRow]:
    num_rows = 0
    for num_rows, row in enumerate(task_input.read(), start=1):
        yield row
        if on_progress and num_rows % PROGRESS_ROWS == 0:
            on_progress(task_input.task, stage, num_rows)
    if on_progress:
        on_progress(task_input.task, stage, num_rows)
