"""Entries of the generators survive JSON: equal values of equal types."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy
import pytest

from prorl_nemo.tasks.logic_entry import TAG, decode_entry, encode_entry


def through_json(value: object) -> object:
    return decode_entry(json.loads(json.dumps(encode_entry(value), allow_nan=False)))


@pytest.mark.parametrize(
    "value",
    [
        {"question": "?", "answer": None, "metadata": {"a": [1, 2.5, True, "\u2028"]}},
        {"pair": (1, [2, (3,)]), "empty": ()},
        {"edges": {0: [1], 1: [0]}, "nested": {(1, 2): {3: "x"}}},
        {TAG: "a key that is the tag"},
        {"share": Fraction(-2, 6), "big": 10**30},
        {"limits": (math.inf, -math.inf)},
    ],
)
def test_what_comes_back_is_equal_and_of_the_same_types(value: object) -> None:
    back = through_json(value)
    assert back == value
    assert repr(back) == repr(value)  # 1 == 1.0 == True


def test_nan_comes_back() -> None:
    assert math.isnan(through_json(float("nan")))  # type: ignore[arg-type]


def test_numpy_scalars_become_python_s() -> None:
    value = {"x": numpy.float64(0.1), "n": numpy.int64(3), "s": numpy.str_("a")}
    assert repr(through_json(value)) == "{'x': 0.1, 'n': 3, 's': 'a'}"


@pytest.mark.parametrize("value", [{1, 2}, object(), b"x", 1j])
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=f"an entry holds a {type(value).__name__}"):
        encode_entry({"metadata": [value]})


@pytest.mark.parametrize("held", ["x", ["set", []], [], None, ["tuple"]])
def test_an_unknown_tag_is_an_error(held: object) -> None:
    with pytest.raises(ValueError, match="not the entry of a logic problem"):
        decode_entry({"a": [{TAG: held}]})
