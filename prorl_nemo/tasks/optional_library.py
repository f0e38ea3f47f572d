"""Libraries of the `domains` extra, imported when a task or a source first needs them."""

from __future__ import annotations

import importlib
from types import ModuleType


def import_optional(module: str) -> ModuleType:
    """The module, or a ValueError that says which extra installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"{module} is not installed: it comes with `pip install prorl_nemo[domains]`"
        ) from error
