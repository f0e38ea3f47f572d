"""A prepared mixture on disk: one problem file a task, and a manifest with their hashes.

Files appear whole or not at all: each is written beside its place and renamed into it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from prorl_nemo.data.problem_files import load_problems
from prorl_nemo.data.source_files import hash_file
from prorl_nemo.tasks.base import Problem

MANIFEST_NAME = "manifest.json"
MANIFEST_VERSION = 1
PREVIEW_CHARS = 500


@dataclass(frozen=True)
class TaskFile:
    """What the manifest says of one task's file.

    ``recipe`` is a digest of everything the file was made from: a file with the same recipe
    need not be made again. The counts say what became of the source's rows.
    """

    file: str
    sha256: str
    num_problems: int
    num_requested: int | None
    recipe: str
    source: Mapping[str, object]
    num_duplicates: int = 0
    num_skipped: Mapping[str, int] = field(default_factory=dict)
    num_contaminated: Mapping[str, int] = field(default_factory=dict)


def read_manifest(folder: Path) -> dict[str, TaskFile]:
    """The task files of a mixture by task; empty where there is no manifest yet.

    ValueError for a manifest that is damaged or of another version.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        return {}
    try:
        manifest = json.loads(path.read_bytes())
        if manifest["version"] != MANIFEST_VERSION:
            raise ValueError(f"version {manifest['version']}, expected {MANIFEST_VERSION}")
        return {task: TaskFile(**entry) for task, entry in manifest["tasks"].items()}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: not a manifest of a mixture ({error})") from error


def write_manifest(folder: Path, task_files: Mapping[str, TaskFile]) -> None:
    tasks = {task: asdict(entry) for task, entry in sorted(task_files.items())}
    manifest = {"version": MANIFEST_VERSION, "tasks": tasks}
    with open_atomic(folder / MANIFEST_NAME) as file:
        file.write(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def open_atomic(path: Path) -> Iterator[IO[str]]:
    """A text file that replaces ``path`` when the block ends, and never if it raises."""
    partial = path.with_name(f"{path.name}.partial.{os.getpid()}")
    try:
        with partial.open("w", encoding="utf-8", errors="surrogatepass", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def is_intact(folder: Path, task_file: TaskFile) -> bool:
    """True if the file is there with the manifest's hash."""
    path = folder / task_file.file
    return path.is_file() and hash_file(path) == task_file.sha256


def load_mixture(folder: Path) -> dict[str, list[Problem]]:
    """The problems of every task; ValueError if the manifest or a file is missing or altered."""
    manifest = read_manifest(folder)
    if not manifest:
        raise ValueError(f"{folder}: holds no {MANIFEST_NAME}; prepare a mixture first")
    for entry in manifest.values():
        if not is_intact(folder, entry):
            raise ValueError(f"{folder / entry.file}: missing, or not the file the manifest names")
    return {task: load_problems(folder / entry.file, task=task) for task, entry in manifest.items()}


def format_counts(entry: TaskFile) -> str:
    """One line: how many problems, and what became of the other rows."""
    left_out = {
        "repeated": entry.num_duplicates,
        **entry.num_skipped,
        **{f"overlaps with {name}": count for name, count in entry.num_contaminated.items()},
    }
    others = "".join(f"; {count:,} {reason}" for reason, count in left_out.items() if count)
    wanted = "" if entry.num_requested is None else f" of {entry.num_requested:,}"
    return f"{entry.num_problems:,}{wanted} problems in {entry.file}{others}"


def format_preview(
    folder: Path, *, task: str | None = None, num_problems: int = 3, full: bool = False
) -> str:
    """The first problems of one task or of all as text; long texts are cut unless ``full``."""
    manifest = read_manifest(folder)
    if task is not None and task not in manifest:
        raise ValueError(f"{folder}: has no task {task!r}; it has {', '.join(manifest) or 'none'}")
    blocks = []
    for name in [task] if task is not None else manifest:
        entry = manifest[name]
        blocks.append(f"== {name}: {entry.num_problems} problems in {entry.file}")
        problems = load_problems(folder / entry.file, task=name)[:num_problems]
        blocks += [_format_problem(problem, full=full) for problem in problems]
    return "\n\n".join(blocks)


def _format_problem(problem: Problem, *, full: bool) -> str:
    metadata = json.dumps(dict(problem.metadata), ensure_ascii=False)
    parts = {"prompt": problem.prompt, "answer": problem.answer, "metadata": metadata}
    lines = [f"-- {problem.problem_id}"]
    for name, text in parts.items():
        is_long = len(text) > PREVIEW_CHARS and not full
        shown = f"{text[:PREVIEW_CHARS]} ... ({len(text)} characters)" if is_long else text
        lines.append(f"{name}: {shown}")
    return "\n".join(lines)
