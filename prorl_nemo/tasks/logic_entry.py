"""Reasoning Gym's entries as JSON values, and back to equal entries.

Scorers read what the generator left in an entry, and JSON knows neither tuples nor keys that are
no strings nor fractions. Such a value becomes an object with one key, ``TAG``, that names its
type and what it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

import numpy

TAG = "@"


def encode_entry(value: object) -> object:
    """``value`` as JSON values. numpy's scalars become Python's. ValueError for other types."""
    if isinstance(value, numpy.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is list:
        return [encode_entry(item) for item in value]
    if type(value) is dict:
        if all(type(key) is str and key != TAG for key in value):
            return {key: encode_entry(item) for key, item in value.items()}
        return _tagged("dict", [[encode_entry(k), encode_entry(v)] for k, v in value.items()])
    if type(value) is tuple:
        return _tagged("tuple", [encode_entry(item) for item in value])
    if type(value) is float:
        # JSON has no nan and no infinities.
        return value if value - value == 0.0 else _tagged("float", repr(value))
    if isinstance(value, Fraction):
        return _tagged("fraction", str(value))
    raise ValueError(f"an entry holds a {type(value).__name__}, which can't be stored")


def decode_entry(value: object) -> object:
    """What `encode_entry` was given. ValueError for an unknown tag."""
    if isinstance(value, list):
        return [decode_entry(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if TAG not in value:
        return {key: decode_entry(item) for key, item in value.items()}
    match value[TAG]:
        case [str(kind), held] if kind in _DECODERS:
            return _DECODERS[kind](held)
    raise ValueError(f"not the entry of a logic problem: {TAG} is {value[TAG]!r}")


def _tagged(kind: str, held: object) -> dict[str, object]:
    return {TAG: [kind, held]}


def _decode_pairs(held: object) -> dict[object, object]:
    pairs = decode_entry(held)
    assert isinstance(pairs, list)
    return dict(pairs)


def _decode_tuple(held: object) -> tuple[object, ...]:
    items = decode_entry(held)
    assert isinstance(items, list)
    return tuple(items)


_DECODERS: Mapping[str, Callable[[object], object]] = {
    "dict": _decode_pairs,
    "tuple": _decode_tuple,
    "float": lambda held: float(str(held)),
    "fraction": lambda held: Fraction(str(held)),
}
