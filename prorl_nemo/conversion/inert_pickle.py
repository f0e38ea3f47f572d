"""Reads pickles from checkpoints without running anything they name.

Every class or function a pickle names becomes an inert record that remembers its arguments
and state; only tuples, dictionaries, numbers and torch dtypes are real. A pickle that names
something outside the packages that write checkpoints is refused.
"""

from __future__ import annotations

import collections
import pickle
from pathlib import Path
from typing import IO, Any

import torch

KNOWN_PACKAGES = frozenset(
    {
        "_codecs",
        "argparse",
        "collections",
        "megatron",
        "nemo_automodel",
        "nemo_rl",
        "numpy",
        "nvidia_resiliency_ext",
        "pathlib",
        "torch",
        "transformer_engine",
    }
)
_PLAIN_BUILTINS = {"set": set, "frozenset": frozenset, "slice": slice, "bytearray": bytearray}


class Inert:
    """Stands for an object whose class is not loaded: its name, arguments and state."""

    type_name = ""
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any, **_: Any) -> Inert:
        self = object.__new__(cls)
        self.args = args
        self.state = {}
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Accepts the items of a dictionary subclass; nothing reads them."""

    def append(self, value: Any) -> None:
        """Accepts the items of a list subclass; nothing reads them."""

    def get(self, field: str) -> Any:
        """The attribute ``field`` of the pickled object, None when it had none."""
        return self.state.get(field) if isinstance(self.state, dict) else None


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "builtins" and name in _PLAIN_BUILTINS:
            return _PLAIN_BUILTINS[name]
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch", "Size"):
            return _make_size
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if module.partition(".")[0] not in KNOWN_PACKAGES:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no checkpoint holds")
        return type(name, (Inert,), {"type_name": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> Any:
        return pid


def _make_size(sizes: tuple[int, ...] = ()) -> tuple[int, ...]:
    return tuple(sizes)


def load_inert(stream: IO[bytes], *, source: Path) -> Any:
    """The pickle in ``stream`` with every named class inert.

    Raises ValueError, naming ``source``, when the pickle is damaged or names code.
    """
    unpickler = _InertUnpickler(stream)
    try:
        return unpickler.load()
    except Exception as error:  # any byte pattern may be in a damaged file: fail closed
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{source}: damaged or not a checkpoint file: {reason}") from error


def is_inert(value: Any, type_name: str) -> bool:
    """True when ``value`` stands for an object of the class ``type_name`` (any module)."""
    return isinstance(value, Inert) and value.type_name.endswith("." + type_name)
