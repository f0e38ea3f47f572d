import time

import pytest

from prorl_nemo.tasks.code_comparison import output_matches, value_matches


@pytest.mark.parametrize(
    ("actual", "expected", "is_match"),
    [
        (b"5 2 1\n", "5 2 1 \n", True),
        (b"5\n2\n1", "5 2 1", True),
        (b"", "", True),
        (b"\n \n", "", True),
        (b"5 2", "5 2 1", False),
        (b"yes", "YES", False),
        (b"0.3333333333", "0.33333333", True),
        (b"0.3334", "0.3333", False),
        (b"1000000.5", "1000000.4", True),  # 1e-7 relative
        (b"2", "2.0", True),
        (b"2.0", "2", False),  # an integer is exact
        (b"1e3", "1000.0", True),
        (b"nan", "0.5", False),
        (b"inf", "0.5", False),
        (b"1_0.0", "10.0", False),
        (b"1e999", "1e999", True),
        (b"\xff\xfe", "x", False),
        ("é".encode(), "é", True),
    ],
)
def test_output_is_compared_word_by_word(actual: bytes, expected: str, is_match: bool) -> None:
    assert output_matches(actual, expected) is is_match


def test_a_flood_of_output_is_refused_unread() -> None:
    started = time.monotonic()
    assert not output_matches(b"a " * 4_000_000, "a")
    assert time.monotonic() - started < 0.1


@pytest.mark.parametrize(
    ("actual", "expected", "is_match"),
    [
        ((1, 2), [1, 2], True),
        ([1, [2, (3,)]], [1, [2, [3]]], True),
        (1, True, True),  # as Python's own == says
        (1.0000001, 1, False),  # an integer is exact
        (1.0000001, 1.0, True),
        (10**400, 1.0, False),
        ("1", 1, False),
        ({1: 2}, {"1": 2}, True),
        ({1: 2, "1": 3}, {"1": 2}, False),
        ([], [[]], True),  # wrapped
        ([3], 3, False),
        (None, None, True),
        (None, 0, False),
    ],
)
def test_values_follow_what_json_can_say(actual: object, expected: object, is_match: bool) -> None:
    assert value_matches(actual, expected) is is_match
