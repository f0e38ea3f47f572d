"""Where the answer of a response is found."""

import pytest

from prorl_nemo.tasks.final_answer import (
    MAX_ANSWER_CHARS,
    last_boxed_answer,
    last_boxed_answers,
    text_after_reasoning,
)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("<think>a</think>b", "b"),
        ("a</think>b", "b"),  # the chat template opened the tag
        ("a</think>b</think>c", "c"),
        ("no tags", "no tags"),
        ("<think>never closed", None),
        ("<think>a</think>b<think>again", None),
        ("", ""),
    ],
)
def test_reasoning_is_cut_off(response: str, expected: str | None) -> None:
    assert text_after_reasoning(response) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"$\boxed 7$", "7"),
        (r"\boxed{1} and \fbox{3}", "3"),
        (r"\boxed{1} so \boxed{2", None),  # truncated: the first box is not the answer
        (r"\boxed{}", None),
        (r"\boxed", None),
        ("42", None),
        (r"\boxed{" + "1" * MAX_ANSWER_CHARS + "}", "1" * MAX_ANSWER_CHARS),
        (r"\boxed{" + "1" * (MAX_ANSWER_CHARS + 2) + "}", None),
    ],
)
def test_last_box(text: str, expected: str | None) -> None:
    assert last_boxed_answer(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\boxed{1}, \boxed{2} and \boxed{3}", ("1", "2", "3")),
        (r"$\boxed{1} \quad \text{and} \quad \boxed{2}$", ("1", "2")),
        (r"$\boxed{1}$ or $\boxed{2}$", ("1", "2")),
        (r"\boxed{1} is wrong, so \boxed{2}", ("2",)),
    ],
)
def test_neighbouring_boxes_are_one_list(text: str, expected: tuple[str, ...]) -> None:
    assert last_boxed_answers(text) == expected


def test_a_megabyte_of_boxes_is_read_from_its_end() -> None:
    assert last_boxed_answer(r"\boxed{1}" * 120_000) == "1"
    assert last_boxed_answer(r"\boxed{" * 150_000) is None
