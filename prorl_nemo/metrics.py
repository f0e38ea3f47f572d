"""One record per training step, and the writers it goes to.

``metrics.jsonl`` is the history that reports read. After a resume, rows beyond the
checkpoint are cut off, so that every step stands there once.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Protocol

from prorl_nemo.atomic_directory import write_text
from prorl_nemo.run_history import METRICS_FILE, read_metrics
from prorl_nemo.step_record import StepRecord


class MetricsWriter(Protocol):
    def write(self, record: StepRecord) -> None: ...

    def close(self) -> None: ...


class JsonlWriter:
    """Appends a line per step to ``metrics.jsonl``."""

    def __init__(self, root: Path, *, completed_steps: int) -> None:
        path = root / METRICS_FILE
        kept = [json.dumps(row) for row in read_metrics(root) if row["step"] <= completed_steps]
        write_text(path, "".join(f"{line}\n" for line in kept))
        self._file = path.open("a", encoding="utf-8")

    def write(self, record: StepRecord) -> None:
        self._file.write(json.dumps(record.row()) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())  # checkpoints are: no step may lack its row

    def close(self) -> None:
        self._file.close()


class TensorBoardWriter:
    """Scalars under ``train/`` and ``validation/``."""

    def __init__(self, root: Path, *, completed_steps: int) -> None:
        # Importing tensorboard takes seconds; only a run that trains pays for it.
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(root / "tensorboard"), purge_step=completed_steps + 1)

    def write(self, record: StepRecord) -> None:
        for name, value in flatten_scalars(record).items():
            self._writer.add_scalar(name, value, record.step)

    def close(self) -> None:
        self._writer.close()


class WandbWriter:
    """Scalars to Weights & Biases; the run resumes under the run directory's name."""

    def __init__(self, root: Path, *, project: str, name: str | None) -> None:
        try:
            import wandb  # optional: only with logger.wandb_enabled
        except ImportError:
            raise ValueError("logger.wandb_enabled: install wandb (pip install wandb)") from None
        self._run = wandb.init(
            project=project, name=name, id=root.name, resume="allow", dir=str(root)
        )

    def write(self, record: StepRecord) -> None:
        self._run.log(flatten_scalars(record), step=record.step)

    def close(self) -> None:
        self._run.finish()


def flatten_scalars(record: StepRecord) -> dict[str, float]:
    """The numbers of a record by metric name; what did not happen is left out."""
    scalars: dict[str, float] = {}
    for key, value in record.row().items():
        if isinstance(value, dict):
            scalars |= {f"{key}/{name}": float(number) for name, number in value.items()}
        elif isinstance(value, int | float):
            scalars[f"train/{key}"] = float(value)
    return scalars
