"""Lets a Python that is older than NeMo-RL's import its source tree."""

from __future__ import annotations

import sys
import typing

import typing_extensions


def allow_old_python() -> None:
    """Call before nemo_rl is imported. Its release needs Python 3.13.

    Below 3.12 pydantic takes the TypedDict of typing_extensions only, and that is all that
    stands in the way.
    """
    if sys.version_info < (3, 12):
        typing.TypedDict = typing_extensions.TypedDict  # type: ignore[assignment]
