"""Plain numbers as exact rationals."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prorl_nemo.tasks.exact_numbers import (
    ExactNumber,
    numbers_agree,
    parse_based_number,
    parse_number,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", Fraction(42)),
        ("-42", Fraction(-42)),
        ("+42", Fraction(42)),
        ("1,234,567", Fraction(1234567)),
        (".5", Fraction(1, 2)),
        ("12.", Fraction(12)),
        ("1e3", Fraction(1000)),
        (r"4.7\times10^{-19}", Fraction(47, 10**20)),
        ("10^6", Fraction(10**6)),
        (r"\frac{3}{4}", Fraction(3, 4)),
        (r"-\frac{3}{4}", Fraction(-3, 4)),
        (r"\frac{-3}{4}", Fraction(-3, 4)),
        (r"2\frac{1}{2}", Fraction(5, 2)),
        ("3/4", Fraction(3, 4)),
    ],
)
def test_notations_of_numbers(text: str, value: Fraction) -> None:
    number = parse_number(text)
    assert number is not None
    assert number.value == value


@pytest.mark.parametrize(
    "text",
    ["", "-", "x", "1,23", "1/0", "1e99999999", "10^{99999999}", r"\pi", "１２", "1..2", "%"],
)
def test_what_is_no_plain_number(text: str) -> None:
    assert parse_number(text) is None


@pytest.mark.parametrize(
    ("reference", "answer", "expected"),
    [
        ("1", "1.0", True),
        ("1", "1.000000001", False),  # an integer is met exactly
        ("123456789012345678", "123456789012345679", False),  # equal as floats
        (r"\frac{1}{3}", "0.333333", True),
        (r"\frac{1}{3}", "0.333", False),
        (r"\frac{1}{3}", r"\frac{333333}{1000000}", False),  # both exact
        ("4.7e-19", "5.1e-19", False),  # equal after rounding to six decimals
        ("50%", "50", True),
        ("50%", "0.5", True),
        ("0.5", "50%", True),
        ("50%", "5", False),
    ],
)
def test_agreement(reference: str, answer: str, expected: bool) -> None:
    numbers = parse_number(reference), parse_number(answer)
    assert numbers[0] is not None
    assert numbers[1] is not None
    assert numbers_agree(*numbers) is expected


def test_bases_belong_to_the_number() -> None:
    assert parse_based_number("203_5") == ("203", 5)
    assert parse_based_number("2A_{16}") == ("2A", 16)
    assert parse_based_number("x_1") is None


@settings(deadline=None)
@given(st.fractions(), st.fractions())
def test_exact_numbers_agree_only_if_equal(a: Fraction, b: Fraction) -> None:
    assert numbers_agree(ExactNumber(a, False), ExactNumber(b, False)) == (a == b)
