"""Reading responses and problems: nothing is run here."""

import pytest

from prorl_nemo.tasks.base import Problem
from prorl_nemo.tasks.code import CodeTask, extract_program
from prorl_nemo.tasks.code_languages import PYTHON


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("```python\na\n```\nor better\n```py\nb\n```", "b\n"),
        ("```python\na\n```\nwhich prints\n```\n5\n```", "a\n"),
        ("```\na\n```\n```text\n5\n```", "a\n"),
        ("```Python3\na\n```", "a\n"),
        ("Call ```f(x)``` first.\n```python\na\n```", "a\n"),
        ("```python\nx = '''\n```sql\n'''\n```", "x = '''\n```sql\n'''\n"),
        ("```python\na\n```\n```python\nunclosed", "a\n"),
        ("```java\na\n```", None),
        ("", None),
    ],
)
def test_the_last_closed_block_of_the_language_is_the_program(
    text: str, program: str | None
) -> None:
    assert extract_program(text, PYTHON) == program


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        (None, "p: tests must be an object"),
        ({"inputs": ["1"], "outputs": []}, "p: 1 test inputs but 0 outputs"),
        ({"inputs": [], "outputs": []}, "p: 0 test inputs"),
        ({"inputs": "1", "outputs": ["1"]}, "p: tests.inputs must be a list"),
        ({"inputs": [1], "outputs": ["1"]}, "p: a test of a program is a string"),
        (
            {"fn_name": "f", "inputs": ["{"], "outputs": ["1"]},
            "p: a test of a function is not JSON",
        ),
        ({"entry_point": "f", "assertions": "assert ("}, "p: tests.assertions is not Python"),
        ({"entry_point": "f", "assertions": "f()"}, "p: tests.assertions holds no assertion"),
        ({"assertions": "assert f()"}, "p: tests.entry_point must be a string"),
    ],
)
def test_a_malformed_problem_is_refused_when_the_task_is_made(tests: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CodeTask("code", [Problem("p", "code", "", "", {"tests": tests})])
