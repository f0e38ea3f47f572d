"""conf/local.yaml is the reference of every key: complete, and each key explained."""

from __future__ import annotations

import re
import typing
from typing import Any

import yaml
from pydantic import BaseModel

from prorl_nemo.config_campaign import Config
from tests.support.campaigns import REPOSITORY

LOCAL = REPOSITORY / "conf" / "local.yaml"
# Keys whose name says all that a comment could.
PLAIN = {
    "batch_size", "betas", "enabled", "eps", "lr", "max_grad_norm", "name", "num_steps",
    "project", "seed", "task", "temperature",
    "tensorboard_enabled", "top_p", "wandb_enabled", "weight_decay", "tasks", "precision",
}  # fmt: skip
PLAIN_SECTIONS = ("prorl.tiny_model.",)


def sections(model: type[BaseModel], prefix: str = "") -> list[tuple[str, type[BaseModel]]]:
    """Every model below ``model`` and the dotted key it stands at; lists count as item 0."""
    found = [(prefix, model)]
    for name, field in model.model_fields.items():
        for kind in models_in(field.annotation):
            item = "" if kind is field.annotation else "0."
            found += sections(kind, f"{prefix}{name}.{item}")
    return found


def models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in models_in(part)]


def test_every_field_is_there_and_nothing_else() -> None:
    document, num_keys = yaml.safe_load(LOCAL.read_text()), 0
    for prefix, model in sections(Config):
        node: Any = document
        for part in prefix.split(".")[:-1]:
            node = node[int(part)] if isinstance(node, list) else node[part]
        assert set(node) == set(model.model_fields), prefix
        num_keys += len(node)
    assert num_keys > 100


def test_every_key_has_a_comment() -> None:
    """On its own line, on the line above, or at the section that it belongs to."""
    lines, parents, silent = LOCAL.read_text().splitlines(), list[tuple[int, bool]](), list[str]()
    for number, line in enumerate(lines):
        match = re.match(r"( *(?:- )?)(\w+):(.*)", line)
        if match is None:
            continue
        indent, key, rest = len(match[1]), match[2], match[3]
        parents = [parent for parent in parents if parent[0] < indent]
        has_comment = "#" in rest or lines[number - 1].lstrip().startswith("#")
        is_told = has_comment or any(told for _, told in parents)
        opens_section = not rest.split("#")[0].strip()
        if not (is_told or opens_section or key in PLAIN):
            silent.append(line.strip())
        parents.append((indent, has_comment))
    allowed = (
        "hidden_size",
        "num_hidden_layers",
        "num_attention",
        "num_key_value",
        "intermediate_s",
    )
    assert [line for line in silent if not line.startswith(allowed)] == []


def test_every_model_field_has_a_docstring_or_a_plain_name() -> None:
    for prefix, model in sections(Config):
        for name, field in model.model_fields.items():
            is_section = bool(models_in(field.annotation))
            is_plain = name in PLAIN or is_section or prefix.startswith(PLAIN_SECTIONS)
            is_plain = is_plain or typing.get_origin(field.annotation) is typing.Literal
            assert field.description or is_plain, f"{prefix}{name}"
