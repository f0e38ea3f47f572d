"""Finds out what kind of checkpoint a path holds, by its content.

Understood: a Megatron iteration or the directory of iterations; a DCP or safetensors
directory of NeMo-RL's DTensor workers; a Hugging Face directory; a step directory of NeMo-RL
or of the local engine; a directory of steps; a run directory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from prorl_nemo.conversion.dcp_index import MEGATRON_METADATA_FILE, METADATA_FILE
from prorl_nemo.conversion.safetensors_index import WEIGHT_FILES

Kind = Literal["dcp", "safetensors"]
Choice = Literal["latest", "best"]
STEP_NAME = re.compile(r"^step_(\d+)$")
ITERATION_NAME = re.compile(r"^(?:iter_\d+|release)$")
TRACKER_FILE = "latest_checkpointed_iteration.txt"
MAX_ENCLOSING_DIRECTORIES = 4


@dataclass(frozen=True)
class CheckpointSource:
    """One set of weights and the step directory it belongs to, if any."""

    kind: Kind
    weights: Path
    step_directory: Path | None
    step: int | None

    def read_run_config(self) -> dict[str, object]:
        """``config.yaml`` of NeMo-RL's step, or ``config.json`` of the local run; else empty."""
        if self.step_directory is None:
            return {}
        local = self.step_directory.parent.parent / "config.json"
        if self.step_directory.parent.name == "checkpoints" and local.is_file():
            campaign = read_json(local).get("config")
            if isinstance(campaign, dict):
                return campaign
        return read_yaml(self.step_directory / "config.yaml")

    def read_step_info(self) -> dict[str, object]:
        """``training_info.json`` (NeMo-RL) or ``train_state.json`` (local), empty without."""
        if self.step_directory is None:
            return {}
        return read_step_info(self.step_directory)


def locate_checkpoint(
    path: Path, *, step: int | None = None, choice: Choice = "latest"
) -> CheckpointSource:
    """The weights that ``path`` means.

    ``step`` and ``choice`` pick among the steps of a run directory. Raises ValueError, naming
    the path, when it holds no checkpoint, or not the one asked for.
    """
    if not path.is_dir():
        raise ValueError(f"{path}: {'not a' if path.exists() else 'no such'} directory")
    weights = _find_weights(path)
    if weights is None:
        step_directory = _choose_step(path, step=step, choice=choice)
        weights = _find_weights(step_directory)
        if weights is None:
            raise ValueError(f"{step_directory}: incomplete: it holds no weights")
    enclosing = _find_step_directory(weights)
    found_step = _read_step_number(enclosing) if enclosing else None
    if step is not None and found_step != step:
        raise ValueError(f"{path}: it is step {found_step}, not step {step}")
    is_dcp = (weights / METADATA_FILE).exists() or (weights / MEGATRON_METADATA_FILE).exists()
    return CheckpointSource("dcp" if is_dcp else "safetensors", weights, enclosing, found_step)


def _find_weights(directory: Path) -> Path | None:
    if _holds_weights(directory):
        return directory
    if iterations := [d for d in directory.iterdir() if ITERATION_NAME.match(d.name)]:
        return _choose_iteration(directory, iterations)
    candidates = ("policy/weights", "policy", "weights", "model/consolidated", "model")
    for name in candidates:
        candidate = directory / name
        if candidate.is_dir() and (found := _find_weights(candidate)) is not None:
            return found
    return None


def _holds_weights(directory: Path) -> bool:
    names = (METADATA_FILE, MEGATRON_METADATA_FILE)
    if any((directory / name).is_file() for name in names):
        return True
    if next(directory.glob("*.distcp"), None) is not None:
        raise ValueError(
            f"{directory / METADATA_FILE}: missing: the checkpoint was never completed"
        )
    return next(directory.glob(WEIGHT_FILES), None) is not None


def _choose_iteration(directory: Path, iterations: list[Path]) -> Path:
    tracker = directory / TRACKER_FILE
    if not tracker.is_file():
        return max(iterations, key=lambda path: path.name)
    text = tracker.read_text().strip()
    name = text if text == "release" else f"iter_{int(text):07d}" if text.isdigit() else text
    if not (directory / name).is_dir():
        raise ValueError(f"{directory / name}: missing, but {tracker.name} names it")
    return directory / name


def _choose_step(path: Path, *, step: int | None, choice: Choice) -> Path:
    steps = _list_steps(path)
    if not steps:
        raise ValueError(
            f"{path}: not a checkpoint: no weights, no step_N directories, no iter_N directories"
        )
    if step is not None:
        if step not in steps:
            raise ValueError(f"{path}: no step {step}; it has {', '.join(map(str, sorted(steps)))}")
        return steps[step]
    return steps[_find_best(steps) if choice == "best" else max(steps)]


def _list_steps(path: Path) -> dict[int, Path]:
    for parent in (path, path / "checkpoints"):
        matches = [(STEP_NAME.match(d.name), d) for d in _subdirectories(parent)]
        if steps := {int(match[1]): d for match, d in matches if match}:
            return steps
    return {}


def _subdirectories(parent: Path) -> Iterator[Path]:
    return (d for d in parent.iterdir() if d.is_dir()) if parent.is_dir() else iter(())


def _find_best(steps: dict[int, Path]) -> int:
    """The step with the best value of the metric that the run itself kept checkpoints by."""
    newest = steps[max(steps)]
    best_step = read_step_info(newest).get("best_step")
    if isinstance(best_step, int) and best_step in steps:
        return best_step
    checkpointing = read_yaml(newest / "config.yaml").get("checkpointing")
    settings = checkpointing if isinstance(checkpointing, dict) else {}
    metric = str(settings.get("metric_name"))
    values = {n: read_step_info(directory).get(metric) for n, directory in steps.items()}
    scored = {n: float(v) for n, v in values.items() if isinstance(v, int | float)}
    if not scored:
        raise ValueError(f"{newest.parent}: no step records the metric {metric}; use --step")
    sign = 1 if settings.get("higher_is_better", True) else -1
    return max(scored, key=lambda n: (sign * scored[n], n))


def _find_step_directory(weights: Path) -> Path | None:
    enclosing = [weights, *weights.resolve().parents][: MAX_ENCLOSING_DIRECTORIES + 1]
    markers = ("training_info.json", "train_state.json")
    return next((d for d in enclosing if any((d / m).is_file() for m in markers)), None)


def _read_step_number(directory: Path) -> int | None:
    match = STEP_NAME.match(directory.name)
    recorded = read_step_info(directory).get("step")
    return int(match[1]) if match else recorded if isinstance(recorded, int) else None


def read_step_info(directory: Path) -> dict[str, object]:
    """The step's own record; raises ValueError when it is damaged."""
    for name in ("training_info.json", "train_state.json"):
        if (path := directory / name).is_file():
            return read_json(path)
    return {}


def read_json(path: Path) -> dict[str, object]:
    """A JSON object; raises ValueError naming the file otherwise."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: damaged: not JSON") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: damaged: not a JSON object")
    return content


def read_yaml(path: Path) -> dict[str, object]:
    """A YAML mapping, empty without the file; raises ValueError naming the file otherwise."""
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: damaged: not YAML") from error
    return content if isinstance(content, dict) else {}
