"""`prorl status RUN_DIR`: where a campaign is. Reads files only and needs no torch."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, help="run directory of the campaign")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    status = read_status(arguments.run_dir)
    if arguments.json:
        print(json.dumps(status))
    else:
        for key, value in status.items():
            print(f"{key.replace('_', ' '):>20}  {_shown(value)}")
    return 0


def read_status(root: Path) -> dict[str, Any]:
    """What the files of a run directory tell; raises ValueError when it is none."""
    from prorl_nemo.run_directory import CONFIG_FILE, DONE_FILE, is_running, load_frozen_config
    from prorl_nemo.run_history import read_metrics
    from prorl_nemo.run_schedule import current_run, schedule_runs
    from prorl_nemo.slurm.segments import describe_campaign

    jobs = describe_campaign(root)
    if jobs and not (root / CONFIG_FILE).is_file():
        return {"state": "not started yet", **jobs}
    config = load_frozen_config(root)
    rows = read_metrics(root)
    last = rows[-1] if rows else {"step": 0}
    runs = schedule_runs(config.prorl.schedule)
    run = current_run(runs, completed_steps=last["step"])
    checkpoints = sorted(path.name for path in (root / "checkpoints").glob("step_*"))
    resets = _resets(root, checkpoints)
    seconds = [row["seconds"] for row in rows[-50:] if "seconds" in row]
    left = runs[-1].end_step - last["step"]
    validations = [row for row in rows if row.get("validation_score") is not None]
    return {
        "state": _state(finished=(root / DONE_FILE).exists(), running=is_running(root)),
        "run": run.name if run is not None else "schedule finished",
        "step": last["step"],
        "of_steps": runs[-1].end_step,
        "hours_left": left * sum(seconds) / len(seconds) / 3600 if seconds else None,
        "newest_checkpoint": checkpoints[-1] if checkpoints else None,
        "resets": [f"step {event['step']}: {event['reason']}" for event in resets],
        "reward": last.get("reward_mean"),
        "entropy": last.get("entropy"),
        "kl": last.get("kl"),
        "pass_rate": last.get("pass_rate"),
        "validation": validations[-1]["validation_score"] if validations else None,
        "best_validation": max((row["validation_score"] for row in validations), default=None),
        **jobs,
    }


def _resets(root: Path, checkpoints: list[str]) -> list[dict[str, Any]]:
    if not checkpoints:
        return []
    path = root / "checkpoints" / checkpoints[-1] / "train_state.json"
    try:
        events: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["resets"]
    except (OSError, ValueError, KeyError):
        return []  # being written or damaged: the trainer will say so
    return events


def _state(*, finished: bool, running: bool) -> str:
    if running:
        return "running"
    return "finished" if finished else "stopped"


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(value) or "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
