"""Copies tokenizer, chat template and generation settings beside the converted weights.

The tokenizer that the run saved comes first; without one, the tokenizer that NeMo-RL's
``config.yaml`` names, with the chat template that the run gave it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prorl_nemo.conversion.locate import CheckpointSource, read_json
from prorl_nemo.conversion.model_config import (
    HUGGING_FACE_METADATA,
    ModelConfig,
    find_model_directory,
)

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
)
VOCABULARY_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
GENERATION_FILE = "generation_config.json"
# NeMo-RL: chat_template null means that messages are joined as they are.
PASSTHROUGH_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def copy_tokenizer(
    source: CheckpointSource, config: ModelConfig, output: Path, override: Path | None
) -> str | None:
    """Copies the files; returns where the tokenizer came from, None when there is none.

    Raises ValueError when ``override`` holds no tokenizer, or a file is damaged.
    """
    if override is not None and not _holds_tokenizer(override):
        raise ValueError(f"{override}: holds no tokenizer ({', '.join(VOCABULARY_FILES)})")
    directory = override or _find_saved(source) or _find_named(source, config)
    if config.directory and (config.directory / GENERATION_FILE).is_file():
        shutil.copyfile(config.directory / GENERATION_FILE, output / GENERATION_FILE)
    if directory is None:
        return None
    for name in TOKENIZER_FILES:
        if (directory / name).is_file():
            if name.endswith(".json"):
                read_json(directory / name)  # a damaged one is an error here, not at its users
            shutil.copyfile(directory / name, output / name)
    if directory not in (override, _find_saved(source)):
        _apply_chat_template(_tokenizer_settings(source), output)
    return str(directory)


def _holds_tokenizer(directory: Path) -> bool:
    return any((directory / name).is_file() for name in VOCABULARY_FILES)


def _find_saved(source: CheckpointSource) -> Path | None:
    places = [source.weights, source.weights / HUGGING_FACE_METADATA, source.weights / "tokenizer"]
    if source.step_directory is not None:
        places.insert(0, source.step_directory / "policy" / "tokenizer")
    return next((place for place in places if _holds_tokenizer(place)), None)


def _find_named(source: CheckpointSource, config: ModelConfig) -> Path | None:
    named = find_model_directory(str(_tokenizer_settings(source).get("name") or ""))
    places = [place for place in (named, config.directory) if place is not None]
    return next((place for place in places if _holds_tokenizer(place)), None)


def _tokenizer_settings(source: CheckpointSource) -> Mapping[str, Any]:
    policy = source.read_run_config().get("policy")
    settings = policy.get("tokenizer") if isinstance(policy, dict) else None
    return settings if isinstance(settings, dict) else {}


def _apply_chat_template(settings: Mapping[str, Any], output: Path) -> None:
    template = settings.get("chat_template", "default")
    if template is None:
        template = PASSTHROUGH_TEMPLATE
    elif str(template).lower() == "default":
        return
    elif str(template).endswith(".jinja"):
        if not Path(template).is_file():
            raise ValueError(f"{template}: missing, but config.yaml names it as the chat template")
        template = Path(template).read_text(encoding="utf-8")
    (output / "chat_template.jinja").write_text(str(template), encoding="utf-8")
