"""Rows of the published data sets, and where their files are found."""

import json
from pathlib import Path

import pytest

from prorl_nemo.data.logic_problems import NUM_PROBLEMS
from prorl_nemo.data.source_files import hash_file, locate_files, read_rows
from prorl_nemo.data.source_rows import (
    BOXED_INSTRUCTION,
    SkippedRow,
    convert_deepscaler,
    convert_eurus_code,
    convert_nemotron_instructions,
    convert_scp,
)
from prorl_nemo.data.sources import SOURCES
from prorl_nemo.tasks.base import Problem


def test_the_mixture_has_the_counts_of_the_paper() -> None:
    counts = {task: source.num_problems for task, source in SOURCES.items()}
    assert counts == {"math": 40_000, "code": 24_000, "stem": 25_000, "instructions": 10_000}
    assert sum(counts.values()) + NUM_PROBLEMS["logic"] == 136_000


def test_revisions_are_commits() -> None:
    for source in SOURCES.values():
        assert len(source.revision) >= 7
        int(source.revision, 16)
    assert "NON-COMMERCIAL" in SOURCES["stem"].notice


def test_deepscaler_row() -> None:
    row = {"problem": "What is 1+1?\n", "answer": "2", "solution": ""}
    problem = convert_deepscaler(row)
    assert isinstance(problem, Problem)
    assert problem.prompt == f"What is 1+1? {BOXED_INSTRUCTION}"
    assert problem.answer == "2"
    assert problem.problem_id.startswith("math/")
    assert convert_deepscaler({**row, "answer": " "}) == SkippedRow("no answer")
    with pytest.raises(ValueError, match="lacks the column 'answer'"):
        convert_deepscaler({"problem": "?"})


def test_eurus_row() -> None:
    tests = {"inputs": ["1\n"], "outputs": ["2\n"]}
    row = {
        "ability": "code",
        "prompt": [
            {"role": "system", "content": "actions"},
            {"role": "user", "content": "Add one.\n\nWrite Python code."},
        ],
        "reward_model": {"ground_truth": json.dumps(tests), "style": "rule"},
    }
    problem = convert_eurus_code(row)
    assert isinstance(problem, Problem)
    assert problem.prompt == "Add one.\n\nWrite Python code."
    assert problem.metadata == {"tests": tests}
    assert convert_eurus_code({**row, "ability": "math"}) == SkippedRow("not code")
    broken = {**row, "reward_model": {"ground_truth": "{"}}
    assert convert_eurus_code(broken) == SkippedRow("tests are not JSON")
    uneven = {**row, "reward_model": {"ground_truth": '{"inputs": ["1"], "outputs": []}'}}
    assert convert_eurus_code(uneven) == SkippedRow("tests that can't be used")


def test_scp_row() -> None:
    row = {
        "domain": "Physics",
        "problem": "How far?",
        "matched_solution": r"By Newton, \boxed{5\text{ km}}",
        "o1_solution": r"I find \boxed{5000\text{ m}}",
        "qwq_solution": r"I find \boxed{7}",
        "is_o1_solution_same_with_matched_solution": True,
        "is_qwq_solution_same_with_matched_solution": False,
    }
    problem = convert_scp(row)
    assert isinstance(problem, Problem)
    assert problem.answer == r"5\text{ km}"
    short = convert_scp({**row, "matched_solution": "5 km"})
    assert isinstance(short, Problem)
    assert short.answer == "5 km"
    long = {**row, "matched_solution": "Because\nof Newton"}
    from_model = convert_scp(long)
    assert isinstance(from_model, Problem)
    assert from_model.answer == r"5000\text{ m}"
    assert convert_scp({**long, "o1_solution": "I can't tell"}) == SkippedRow("no short answer")
    unsure = {**row, "is_o1_solution_same_with_matched_solution": False}
    assert convert_scp(unsure) == SkippedRow("no model solution agrees with the source")
    with pytest.raises(ValueError, match="is_o1_solution_same_with_matched_solution must be"):
        convert_scp({"problem": "p", "matched_solution": "s", "o1_solution": ""})


def test_nemotron_row() -> None:
    row = {
        "input": [{"role": "user", "content": "Write. No commas."}],
        "args": {
            "instruction_id_list": ["punctuation:no_comma"],
            "instruction_kwargs": [{"num_words": None}],
        },
    }
    problem = convert_nemotron_instructions(row)
    assert isinstance(problem, Problem)
    assert problem.metadata["instruction_id_list"] == ["punctuation:no_comma"]
    args = {"instruction_id_list": ["nobody:knows"], "instruction_kwargs": [{}]}
    skipped = convert_nemotron_instructions({**row, "args": args})
    assert skipped == SkippedRow("a constraint that can't be checked")
    with pytest.raises(ValueError, match="args must be an object"):
        convert_nemotron_instructions({"input": "x"})


def test_local_files_lie_by_repository_or_by_name(tmp_path: Path) -> None:
    source = SOURCES["instructions"]
    with pytest.raises(ValueError, match=r"instruction_following\.jsonl is neither at"):
        locate_files(source, local_folder=tmp_path)

    flat = tmp_path / "instruction_following.jsonl"
    flat.write_text("{}\n")
    assert locate_files(source, local_folder=tmp_path) == {source.files[0]: flat}

    nested = tmp_path / source.repository / source.files[0]
    nested.parent.mkdir(parents=True)
    nested.write_text("{}\n")
    assert locate_files(source, local_folder=tmp_path) == {source.files[0]: nested}


def test_rows_are_named_by_file_and_number(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"x": 1}, 2]')
    rows = read_rows(tmp_path / "a.json")
    assert next(rows) == (f"{tmp_path / 'a.json'}:1", {"x": 1})
    with pytest.raises(ValueError, match=r"a\.json:2: expected an object, found int"):
        next(rows)
    (tmp_path / "b.jsonl").write_text('{"x": 1}\n{')
    with pytest.raises(ValueError, match=r"b\.jsonl:2: not JSON"):
        list(read_rows(tmp_path / "b.jsonl"))
    with pytest.raises(ValueError, match="a source file ends in"):
        next(read_rows(tmp_path / "c.txt"))
    (tmp_path / "d.csv").write_text('x,"y z"\n1,"two\nlines"\n')
    assert list(read_rows(tmp_path / "d.csv")) == [
        (f"{tmp_path / 'd.csv'}:1", {"x": "1", "y z": "two\nlines"})
    ]


def test_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_text("abc")
    # The published test vector of FIPS 180-2.
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hash_file(tmp_path / "abc") == expected
