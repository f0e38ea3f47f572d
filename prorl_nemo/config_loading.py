"""From a YAML file and command-line overrides to a checked Config.

``defaults:`` names one file or a list of files, relative to the file that names them,
that are read first; the file's own keys win, and a mapping with ``_override_: true``
replaces instead of merging. Overrides are Hydra's: ``key=value`` changes a key that
exists, ``+key=value`` adds one, ``~key`` removes one. Interpolations such as
``${oc.env:HOME}`` are OmegaConf's.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from prorl_nemo.config_campaign import Config

# What belongs to the campaign as a whole: a run that overrode it would be ignored.
CAMPAIGN_KEYS = ("checkpointing.", "logger.", "grpo.seed.", "prorl.schedule.", "prorl.evaluation.")


# Imported when they are asked for: a laptop needs no rules about GPUs.
ENGINE_CONFIGS = {"nemo": ("prorl_nemo.engines.nemo.config", "NemoCampaignConfig")}


class ConfigError(ValueError):
    """A configuration that can't be used; the message is one line that names the key."""


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read, override and check; every run of the schedule is checked as well.

    Raises ConfigError with one line that names the key.
    """
    raw = read_yaml(path, overrides)
    config = validate_config(raw)
    for index in range(len(config.prorl.schedule)):
        config_of_run(config, index)
    return config


def override_config(config: Config, overrides: Sequence[str]) -> Config:
    """A checked configuration with overrides on top; raises ConfigError."""
    tree = OmegaConf.create(config.model_dump(mode="json"))
    for override in overrides:
        _apply_override(tree, override)
    return validate_config(tree)


def config_of_run(config: Config, index: int) -> Config:
    """The configuration in force during run ``index`` of the schedule."""
    run = config.prorl.schedule[index]
    if not run.overrides:
        return config
    tree = OmegaConf.create(config.model_dump(mode="json"))
    for key, value in run.overrides.items():
        where = f"prorl.schedule[{index}].overrides.{key}"
        key = _plain_key(key)
        if f"{key}.".startswith(CAMPAIGN_KEYS):
            raise ConfigError(f"{where}: can't change during a campaign")
        if key.startswith(("policy.model_name", "prorl.tiny_model", "prorl.engine")):
            raise ConfigError(f"{where}: a campaign has one model and one engine")
        _require_existing(tree, key, where)
        OmegaConf.update(tree, key, value, merge=False)
    try:
        return validate_config(tree)
    except ConfigError as error:
        raise ConfigError(f"prorl.schedule[{index}] ({run.name}): {error}") from None


def validate_config(raw: DictConfig) -> Config:
    """Check a tree against the models; raises ConfigError."""
    try:
        tree = OmegaConf.to_container(raw, resolve=True)
        return config_class(tree).model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_first_line(error)) from None
    except OmegaConfBaseException as error:
        raise ConfigError(_name_key(error)) from None


def config_class(tree: Any) -> type[Config]:
    """The model that checks a configuration: prorl.engine decides, as each engine has keys."""
    section = tree.get("prorl") if isinstance(tree, dict) else None
    engine = section.get("engine") if isinstance(section, dict) else None
    if engine not in ENGINE_CONFIGS:
        return Config
    module, name = ENGINE_CONFIGS[engine]
    found: type[Config] = getattr(importlib.import_module(module), name)
    return found


def read_yaml(path: Path, overrides: Sequence[str] = ()) -> DictConfig:
    """The merged tree before any check; raises ConfigError."""
    tree = _read_with_defaults(path, seen=())
    for override in overrides:
        _apply_override(tree, override)
    return tree


def _read_with_defaults(path: Path, *, seen: tuple[Path, ...]) -> DictConfig:
    path = path.expanduser().resolve()
    if path in seen:
        raise ConfigError(f"{path}: defaults form a circle")
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    try:
        tree = OmegaConf.load(path)
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, DictConfig):
        raise ConfigError(f"{path}: expected a mapping at the top")
    parents = tree.pop("defaults", [])
    merged = OmegaConf.create({})
    for parent in parents if isinstance(parents, ListConfig) else [parents] if parents else []:
        base = _read_with_defaults(path.parent / str(parent), seen=(*seen, path))
        merged = _merge(merged, base)
    return _merge(merged, tree)


def _merge(base: DictConfig, top: DictConfig) -> DictConfig:
    for key in list(top):
        node = top._get_node(key)
        if not isinstance(node, DictConfig):
            continue
        if node.pop("_override_", False):
            base.pop(key, None)
        elif isinstance(base._get_node(key), DictConfig):
            top[key] = _merge(base[key], node)
            base.pop(key)
    merged = OmegaConf.merge(base, top)
    assert isinstance(merged, DictConfig)
    return merged


def _apply_override(tree: DictConfig, override: str) -> None:
    if override.startswith("~"):
        key = _plain_key(override[1:])
        _require_existing(tree, key, key)
        parent, _, leaf = key.rpartition(".")
        node = OmegaConf.select(tree, parent) if parent else tree
        del node[int(leaf) if isinstance(node, ListConfig) else leaf]
        return
    key, separator, text = override.partition("=")
    adds = key.startswith("+")
    key = _plain_key(key.lstrip("+"))
    if not separator or not key:
        raise ConfigError(f"{override}: expected key=value, +key=value or ~key")
    if not adds:
        _require_existing(tree, key, key)
    try:
        OmegaConf.update(tree, key, _parse_value(text), merge=False, force_add=adds)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{key}: {str(error).splitlines()[0]}") from None


def _plain_key(key: str) -> str:
    """``tasks[0].name`` as ``tasks.0.name``."""
    return re.sub(r"\[(\d+)\]", r".\1", key)


def _parse_value(text: str) -> Any:
    try:
        wrapped = OmegaConf.from_dotlist([f"value={text}"])
    except (yaml.YAMLError, OmegaConfBaseException):
        return text
    return wrapped._get_node("value")  # a node, so that interpolations stay as they are


def _require_existing(tree: DictConfig, key: str, where: str) -> None:
    node: Any = tree
    for depth, part in enumerate(key.split(".")):
        options = _children(node)
        if part not in options:
            close = difflib.get_close_matches(part, options, n=1)
            hint = ".".join([*key.split(".")[:depth], close[0]]) if close else ""
            raise ConfigError(f"{where}: no such key" + (f"; did you mean {hint}?" if hint else ""))
        node = node._get_node(int(part) if isinstance(node, ListConfig) else part)


def _children(node: Any) -> list[str]:
    if isinstance(node, DictConfig):
        return [str(key) for key in node]
    if isinstance(node, ListConfig):
        return [str(i) for i in range(len(node))]
    return []


def _name_key(error: OmegaConfBaseException) -> str:
    message = str(error).splitlines()[0]
    return f"{error.full_key}: {message}" if error.full_key else message


def _first_line(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "no such key"
    if first["type"] == "missing":
        message = "missing"
    given = first.get("input")
    shown = f" (got {given!r})" if isinstance(given, str | int | float) else ""
    return f"{key}: {message}{shown}" if key else message
