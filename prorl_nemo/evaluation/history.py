"""The history of a training run, read from its metrics.jsonl into columns."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ResetMark:
    """A reference reset: the step it happened at, and why."""

    step: int
    reason: str


@dataclass(frozen=True)
class History:
    """One row per training step; a quantity that a row lacks is nan there."""

    steps: NDArray[np.int64]  # [T], rising
    runs: tuple[str, ...]  # [T], name of the schedule's run at each step
    columns: dict[str, NDArray[np.float64]]  # [T] each
    resets: tuple[ResetMark, ...]

    def has(self, name: str) -> bool:
        """Whether any step recorded this quantity."""
        return name in self.columns and bool(np.isfinite(self.columns[name]).any())

    def series(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Steps that recorded the quantity, and its values there."""
        values = self.columns.get(name, np.full(len(self.steps), np.nan))
        is_there = np.isfinite(values)
        return self.steps[is_there], values[is_there]


def read_history(path: Path) -> History:
    """Read metrics.jsonl; a torn last line (a run that still writes) is left out.

    A step that occurs again, after a resume, replaces the earlier row. Raises ValueError
    naming file and line for any other line that is not a JSON object with a step.
    """
    rows: dict[int, dict[str, object]] = {}
    for line_number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            break
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise ValueError(f"{path}:{line_number}: not a line of JSON") from None
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise ValueError(f"{path}:{line_number}: no step number")
        rows[row["step"]] = row
    steps = sorted(rows)
    ordered = [rows[s] for s in steps]
    names = dict.fromkeys(name for row in ordered for name in row if name != "step")
    return History(
        steps=np.array(steps, dtype=np.int64),
        runs=tuple(str(row.get("run", "")) for row in ordered),
        columns={
            name: column
            for name in names
            if np.isfinite(column := np.array([_number(row.get(name)) for row in ordered])).any()
        },
        resets=tuple(
            ResetMark(step, str(row["reset"]))
            for step, row in zip(steps, ordered, strict=True)
            if row.get("reset")
        ),
    )


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return float("nan")
    return float(cast("float", value))
