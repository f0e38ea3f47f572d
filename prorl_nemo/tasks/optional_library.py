"""Libraries of the `domains` extra, imported when a task or a source first needs them."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType


def import_optional(module: str) -> ModuleType:
    """The module, or a ValueError that says which extra installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(_advice(module)) from error


def require_optional(*modules: str) -> None:
    """ValueError, as of `import_optional`, for the first module that is not installed.

    A task asks when it is made: a score that can't import its verifier would be a silent 0.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise ValueError(_advice(module))


def _advice(module: str) -> str:
    return f"{module} is not installed: it comes with `pip install prorl_nemo[domains]`"
