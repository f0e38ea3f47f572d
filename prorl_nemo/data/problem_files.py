"""Files of problems: the row schema, and one loader for every file-backed task.

A problem file is JSONL (one JSON object a line) or parquet (one row a problem) with the
columns of `ROW_FIELDS`. Nothing is guessed: a missing, misspelt or mistyped field is an
error that names the file and the line. Which domain grades a problem is not written in the
file: the caller names the task.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from prorl_nemo.tasks.base import Problem
from prorl_nemo.tasks.optional_library import import_optional

REQUIRED_FIELDS = ("problem_id", "prompt", "answer")
ROW_FIELDS = (*REQUIRED_FIELDS, "metadata")
"""problem_id, prompt, answer: strings, the first two not blank; metadata: a JSON object, {}
when absent. In parquet, metadata is a string column that holds the object's JSON text."""


def load_problems(path: Path, *, task: str) -> list[Problem]:
    """Reads every problem of ``path`` (.jsonl or .parquet) in file order.

    Problems carry ``task`` as their task name. ValueError, naming file and line (for parquet:
    row, from 1), for a file that is missing or empty, a row that breaks the schema, or a
    problem_id that occurs twice.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file of problems for task {task!r}")
    line_by_id: dict[str, int] = {}
    problems: list[Problem] = []
    for line_number, row in _read_rows(path):
        where = f"{path}:{line_number}"
        problem = _parse_row(row, where=where, task=task)
        first_line = line_by_id.setdefault(problem.problem_id, line_number)
        if first_line != line_number:
            raise ValueError(
                f"{where}: problem_id {problem.problem_id!r} is already on line {first_line}"
            )
        problems.append(problem)
    if not problems:
        raise ValueError(f"{path}: holds no problems")
    return problems


def format_row(problem: Problem) -> str:
    """The JSONL line of ``problem``, newline included: what `load_problems` reads back."""
    row = {
        "problem_id": problem.problem_id,
        "prompt": problem.prompt,
        "answer": problem.answer,
        "metadata": dict(problem.metadata),
    }
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def _read_rows(path: Path) -> Iterator[tuple[int, object]]:
    if path.suffix == ".jsonl":
        return _read_jsonl_rows(path)
    if path.suffix == ".parquet":
        return _read_parquet_rows(path)
    raise ValueError(f"{path}: a file of problems ends in .jsonl or .parquet")


def _read_jsonl_rows(path: Path) -> Iterator[tuple[int, object]]:
    # Bytes, split on \n only: text mode would also split at U+2028, which prompts contain.
    with path.open("rb") as lines:
        for line_number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}:{line_number}: not JSON ({error})") from error
            yield line_number, row


def _read_parquet_rows(path: Path) -> Iterator[tuple[int, object]]:
    parquet = import_optional("pyarrow.parquet")
    row_number = 0
    for batch in parquet.ParquetFile(path).iter_batches():
        for row in batch.to_pylist():
            row_number += 1
            yield row_number, _decode_parquet_metadata(row, where=f"{path}:{row_number}")


def _decode_parquet_metadata(row: dict[str, object], *, where: str) -> dict[str, object]:
    metadata = row.get("metadata")
    if not isinstance(metadata, str):
        return row
    try:
        return {**row, "metadata": json.loads(metadata)}
    except ValueError as error:
        raise ValueError(f"{where}: metadata is not JSON ({error})") from error


def _parse_row(row: object, *, where: str, task: str) -> Problem:
    if not isinstance(row, Mapping):
        raise ValueError(f"{where}: expected an object, found {type(row).__name__}")
    _require_known_fields(row, where=where)
    for name in REQUIRED_FIELDS:
        if not isinstance(row[name], str):
            found = type(row[name]).__name__
            raise ValueError(f"{where}: {name} must be a string, found {found}")
    for name in ("problem_id", "prompt"):
        if not row[name].strip():
            raise ValueError(f"{where}: {name} is blank")
    metadata = row.get("metadata")
    if metadata is not None and not isinstance(metadata, Mapping):
        found = type(metadata).__name__
        raise ValueError(f"{where}: metadata must be an object, found {found}")
    return Problem(
        problem_id=row["problem_id"],
        task=task,
        prompt=row["prompt"],
        answer=row["answer"],
        metadata=dict(metadata or {}),
    )


def _require_known_fields(row: Mapping[str, object], *, where: str) -> None:
    missing = [name for name in REQUIRED_FIELDS if name not in row]
    if missing:
        raise ValueError(f"{where}: lacks {_join(missing)}")
    unknown = sorted(str(name) for name in row if name not in ROW_FIELDS)
    if unknown:
        raise ValueError(f"{where}: unknown field {_join(unknown)}; a row has {_join(ROW_FIELDS)}")


def _join(names: Iterable[str]) -> str:
    return ", ".join(names)
