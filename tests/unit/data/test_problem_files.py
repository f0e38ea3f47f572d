"""The row schema of problem files, and errors that name file and line."""

import json
from pathlib import Path

import pytest

from prorl_nemo.data.problem_files import format_row, load_problems
from prorl_nemo.tasks.base import Problem

ROW = {"problem_id": "a/0", "prompt": "1 + 1?", "answer": "2", "metadata": {"level": 1}}


def write_lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_problems_come_back_in_file_order(tmp_path: Path) -> None:
    second = {"problem_id": "a/1", "prompt": "2 + 2?", "answer": ""}
    path = write_lines(tmp_path / "math.jsonl", ROW, second)

    problems = load_problems(path, task="math")

    assert problems == [
        Problem("a/0", "math", "1 + 1?", "2", {"level": 1}),
        Problem("a/1", "math", "2 + 2?", "", {}),
    ]


def test_format_row_is_read_back(tmp_path: Path) -> None:
    # U+2028 is a line break to str.splitlines, and must not split a row.
    problem = Problem("x", "stem", "a\u2028b\nc", "π", {"units": ["m", None], "n": 1.5})
    path = tmp_path / "stem.jsonl"
    path.write_text(format_row(problem), encoding="utf-8")

    assert load_problems(path, task="stem") == [problem]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"problem_id": "a", "prompt": "p"}, "lacks answer"),
        ({**ROW, "anwser": "2"}, "unknown field anwser"),
        ({**ROW, "answer": 2}, "answer must be a string, found int"),
        ({**ROW, "prompt": " "}, "prompt is blank"),
        ({**ROW, "metadata": ["x"]}, "metadata must be an object, found list"),
        (["a"], "expected an object, found list"),
        (ROW, "problem_id 'a/0' is already on line 1"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, row: object, message: str) -> None:
    path = write_lines(tmp_path / "bad.jsonl", ROW, row)

    with pytest.raises(ValueError, match=rf"bad\.jsonl:2: .*{message}"):
        load_problems(path, task="math")


def test_text_that_is_not_json_is_named_by_line(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "bad.jsonl", ROW)
    path.write_bytes(path.read_bytes() + b"\n{'problem_id'\n")

    with pytest.raises(ValueError, match=r"bad\.jsonl:3: not JSON"):
        load_problems(path, task="math")


def test_missing_empty_and_foreign_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        load_problems(tmp_path / "absent.jsonl", task="math")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(ValueError, match="holds no problems"):
        load_problems(tmp_path / "empty.jsonl", task="math")
    (tmp_path / "rows.csv").touch()
    with pytest.raises(ValueError, match=r"\.jsonl or \.parquet"):
        load_problems(tmp_path / "rows.csv", task="math")


def test_parquet_holds_the_same_problems(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {**ROW, "metadata": json.dumps(ROW["metadata"])}
    table = pyarrow.table({name: [value] for name, value in columns.items()})
    parquet.write_table(table, tmp_path / "math.parquet")
    jsonl = write_lines(tmp_path / "math.jsonl", ROW)

    assert load_problems(tmp_path / "math.parquet", task="math") == load_problems(
        jsonl, task="math"
    )
