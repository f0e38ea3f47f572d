"""``metrics.jsonl``, the history of a run directory: one row per step. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

METRICS_FILE = "metrics.jsonl"


def read_metrics(root: Path) -> Sequence[dict[str, Any]]:
    """The rows of ``metrics.jsonl``; a last line torn by a crash is left out."""
    path = root / METRICS_FILE
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]
