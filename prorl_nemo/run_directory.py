"""A run directory belongs to one campaign, and to one process at a time.

``config.json`` freezes the configuration and the identity of the base model at the first
start. A later start with another model or configuration is refused, naming the difference.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from prorl_nemo.atomic_directory import write_text
from prorl_nemo.config_campaign import Config
from prorl_nemo.config_loading import validate_config

CONFIG_FILE = "config.json"
LOCK_FILE = ".lock"
ENDS_BYTES = 1 << 20
DONE_FILE = "DONE"
# Keys that may differ between starts: they change where and how, not what is computed.
FREE_KEYS = ("checkpointing.", "logger.", "cluster.", "policy.device")


@contextmanager
def owned_run_directory(
    root: Path, config: Config, *, allow_config_change: bool = False
) -> Iterator[Path]:
    """Create or reopen ``root`` for ``config`` and keep other processes out.

    Raises ValueError when it belongs to another configuration, another model or a process
    that is still running.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{root}: another process is running this campaign") from None
        _freeze(root, config, allow_config_change=allow_config_change)
        yield root


def load_frozen_config(root: Path) -> Config:
    """The configuration that the campaign in ``root`` was started with."""
    path = root / CONFIG_FILE
    if not path.is_file():
        raise ValueError(f"{root}: not a run directory ({CONFIG_FILE} is missing)")
    frozen = json.loads(path.read_text(encoding="utf-8"))["config"]
    return validate_config(OmegaConf.create(frozen))


def is_running(root: Path) -> bool:
    """Whether a process owns the run directory now."""
    path = root / LOCK_FILE
    if not path.exists():
        return False
    with path.open("r") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _freeze(root: Path, config: Config, *, allow_config_change: bool) -> None:
    path = root / CONFIG_FILE
    current = {"config": config.model_dump(mode="json"), "model": identify_model(config)}
    if path.exists() and not allow_config_change:
        frozen = json.loads(path.read_text(encoding="utf-8"))
        differences = find_differences(frozen, current)
        if differences:
            raise ValueError(
                f"{root} belongs to another campaign: {'; '.join(differences[:3])} "
                "(--allow-config-change goes on with the new values)"
            )
    write_text(path, json.dumps(current, indent=1))


def identify_model(config: Config) -> str | None:
    """A hash of the model's config and of the ends of its weight files; None if not local.

    Training changes every tensor, so the ends tell apart models that agree in size.
    """
    directory = Path(config.policy.model_name).expanduser()
    if not (directory / "config.json").is_file():
        return None
    digest = hashlib.sha256((directory / "config.json").read_bytes())
    for path in sorted([*directory.glob("*.safetensors"), *directory.glob("*.bin")]):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}".encode())
        with path.open("rb") as file:
            file.seek(max(0, size - ENDS_BYTES))
            digest.update(file.read())
    return digest.hexdigest()


def find_differences(frozen: Any, current: Any) -> list[str]:
    """``key: old -> new`` for each leaf that differs and matters."""
    old, new = _leaves(frozen), _leaves(current)
    return [
        f"{key}: {old.get(key)!r} -> {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not key.startswith(FREE_KEYS)
    ]


def _leaves(tree: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(tree, dict):
        items = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list):
        items = [(str(index), value) for index, value in enumerate(tree)]
    else:
        return {prefix.removeprefix("config."): tree}
    return {
        key: leaf
        for name, value in items
        for key, leaf in _leaves(value, f"{prefix}.{name}" if prefix else name).items()
    }
