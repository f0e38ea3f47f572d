"""Writes the model card: where the weights come from, in Hugging Face's README format.

It states what the checkpoint and its configuration say, and leaves out what they don't.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from prorl_nemo.conversion.locate import CheckpointSource
from prorl_nemo.conversion.model_config import ModelConfig

RECIPE_KEYS = (
    "prorl.engine",
    "grpo.num_prompts_per_step",
    "grpo.num_generations_per_prompt",
    "loss_fn.reference_policy_kl_penalty",
    "loss_fn.ratio_clip_min",
    "loss_fn.ratio_clip_max",
    "policy.model_name",
    "policy.precision",
    "policy.max_total_sequence_length",
    "policy.optimizer.lr",
    "policy.generation.max_new_tokens",
    "policy.generation.temperature",
    "policy.megatron_cfg.tensor_model_parallel_size",
    "policy.megatron_cfg.pipeline_model_parallel_size",
    "policy.megatron_cfg.fp8_cfg.fp8",
)


def write_model_card(
    source: CheckpointSource, config: ModelConfig, directory: Path, *, license_name: str | None
) -> None:
    """Writes ``README.md``. Without a licence given or found, the field says ``unknown``."""
    run_config, info = source.read_run_config(), source.read_step_info()
    base_model = _look_up(run_config, "policy.model_name")
    license_found = license_name or _find_license(config.directory) or "unknown"
    head: dict[str, object] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": license_found,
        "tags": ["reinforcement-learning", "prorl", "nemo-rl"],
    }
    if isinstance(base_model, str) and not base_model.startswith((".", "/", "~")):
        head["base_model"] = base_model
    sections = [
        "---\n" + yaml.safe_dump(head, sort_keys=False) + "---\n",
        f"# {_title(base_model)}\n",
        "Converted from a training checkpoint; `conversion.json` maps every tensor to the one "
        "it was made from, `manifest.json` holds the SHA-256 of every file.\n",
        _make_table("Checkpoint", {"step": source.step, "weights": source.weights.name}),
        _make_table("Recipe", {key: _look_up(run_config, key) for key in RECIPE_KEYS}),
        _make_table(
            "Data mixture, by weight", _list_tasks(_look_up(run_config, "prorl.train_tasks"))
        ),
        _make_table("Data", _flatten(run_config.get("data"), "data")),
        _make_resets(info.get("resets")),
        _make_table("Evaluation", _find_scores(info)),
    ]
    (directory / "README.md").write_text("\n".join(s for s in sections if s), encoding="utf-8")


def _title(base_model: object) -> str:
    name = Path(base_model).name if isinstance(base_model, str) else ""
    return f"{name}, trained with ProRL" if name else "A model trained with ProRL"


def _look_up(values: object, dotted: str) -> Any:
    for key in dotted.split("."):
        if not isinstance(values, Mapping):
            return None
        values = values.get(key)
    return values


def _list_tasks(tasks: object) -> dict[str, object]:
    named = [task for task in tasks if isinstance(task, Mapping)] if isinstance(tasks, list) else []
    return {str(task.get("name")): task.get("weight") for task in named}


def _find_license(directory: Path | None) -> str | None:
    """The licence field of the base model's own card, where it lies beside the configuration."""
    card = directory / "README.md" if directory is not None else None
    if card is None or not card.is_file():
        return None
    parts = card.read_text(encoding="utf-8", errors="replace").split("---\n")
    if len(parts) < 3 or parts[0].strip():
        return None
    try:
        head = yaml.safe_load(parts[1])
    except yaml.YAMLError:  # another's card, perhaps malformed: then its licence is unknown
        return None
    found = head.get("license") if isinstance(head, dict) else None
    return str(found) if found else None


def _flatten(values: object, prefix: str) -> dict[str, object]:
    if isinstance(values, Mapping):
        rows: dict[str, object] = {}
        for key, value in values.items():
            rows.update(_flatten(value, f"{prefix}.{key}"))
        return rows
    if isinstance(values, list) and any(isinstance(value, Mapping) for value in values):
        rows = {}
        for number, value in enumerate(values):
            rows.update(_flatten(value, f"{prefix}.{number}"))
        return rows
    return {prefix: values}


def _find_scores(info: Mapping[str, object]) -> dict[str, object]:
    names = ("val_reward", "best_score", "best_step")
    return {
        key: value
        for key, value in info.items()
        if isinstance(value, int | float) and (key in names or key.startswith(("val:", "train:")))
    }


def _make_resets(resets: object) -> str:
    if not isinstance(resets, list):
        return ""
    rows = {
        f"after step {reset.get('step')}": reset.get("reason")
        for reset in resets
        if isinstance(reset, Mapping)
    }
    return _make_table("Reference resets", rows) or "## Reference resets\n\nNone.\n"


def _make_table(title: str, rows: Mapping[str, object]) -> str:
    lines = [
        f"| {key} | {_escape(value)} |"
        for key, value in rows.items()
        if value not in (None, "", [], {})
    ]
    return f"## {title}\n\n| | |\n|---|---|\n" + "\n".join(lines) + "\n" if lines else ""


def _escape(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
