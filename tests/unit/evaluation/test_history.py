"""Reading a run's metrics: what is missing is missing, what is damaged is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from prorl_nemo.evaluation.history import read_history


def write(path: Path, rows: list[dict[str, object]], tail: str = "") -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)
    return path


def test_missing_quantities_are_gaps(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"step": 1, "run": "run1", "reward_mean": 0.1, "reset": None, "validation_score": None},
        {"step": 2, "run": "run1", "kl": 0.5, "reset": "by hand", "validation_score": 0.3},
    ]
    history = read_history(write(tmp_path / "metrics.jsonl", rows))
    assert history.steps.tolist() == [1, 2]
    assert [(m.step, m.reason) for m in history.resets] == [(2, "by hand")]
    assert history.has("kl")
    assert not history.has("entropy")
    steps, values = history.series("validation_score")
    assert (steps.tolist(), values.tolist()) == ([2], [0.3])
    assert history.series("entropy")[0].size == 0


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "metrics.jsonl", [{"step": 1, "kl": 0.1}], tail='{"step": 2, "k')
    assert read_history(path).steps.tolist() == [1]


def test_a_step_done_again_after_a_resume_counts_once(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"step": s, "kl": v} for s, v in ((1, 0.1), (2, 0.9), (2, 0.2))
    ]
    history = read_history(write(tmp_path / "metrics.jsonl", rows))
    np.testing.assert_array_equal(history.columns["kl"], [0.1, 0.2])


@pytest.mark.parametrize("line", ["nonsense", "[]", '{"kl": 1.0}'])
def test_damage_is_named(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "metrics.jsonl", [{"step": 1}], tail=line + "\n")
    with pytest.raises(ValueError, match=r"metrics.jsonl:2: "):
        read_history(path)
