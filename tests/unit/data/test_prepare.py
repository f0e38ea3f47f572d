"""The mixture on disk: counts, hashes, resumption, and what is left out."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from prorl_nemo.data.mixture_files import (
    MANIFEST_NAME,
    format_preview,
    load_mixture,
    open_atomic,
    read_manifest,
)
from prorl_nemo.data.prepare import TaskInput, prepare_mixture
from prorl_nemo.data.sources import SOURCES
from prorl_nemo.tasks.base import Problem

MATH = {"math": SOURCES["math"]}


def write_source(folder: Path, num_rows: int = 20) -> Path:
    folder.mkdir(exist_ok=True)
    rows = [{"problem": f"What is {i} plus {i}?", "answer": str(2 * i)} for i in range(num_rows)]
    rows.append({"problem": "what is 3  plus 3?", "answer": "6"})  # repeats row 3
    rows.append({"problem": "What is nothing?", "answer": ""})
    rows.append({"problem": "How many eggs lie in the basket of the old farmer?", "answer": "5"})
    (folder / "deepscaler.json").write_text(json.dumps(rows))
    return folder


def as_input(problems: list[Problem]) -> TaskInput:
    return TaskInput("logic", {}, len(problems), lambda: iter(problems))


def test_counts_say_what_became_of_every_row(tmp_path: Path) -> None:
    evaluation = {"egg set": ["how many eggs lie in the basket"]}
    manifest = prepare_mixture(
        tmp_path / "out",
        sources=MATH,
        evaluation_sets=evaluation,
        local_folder=write_source(tmp_path / "in"),
    )

    entry = manifest["math"]
    assert entry.num_problems == 20
    assert entry.num_requested == 40_000  # the shortfall shows
    assert entry.num_duplicates == 1
    assert entry.num_skipped == {"no answer": 1}
    assert entry.num_contaminated == {"egg set": 1}
    problems = load_mixture(tmp_path / "out")["math"]
    assert [problem.answer for problem in problems] == [str(2 * i) for i in range(20)]


def test_a_sample_depends_on_the_seed_and_not_on_the_order_of_rows(tmp_path: Path) -> None:
    source = write_source(tmp_path / "in")

    def prepared(name: str, seed: int) -> set[str]:
        folder = tmp_path / name
        prepare_mixture(folder, sources=MATH, counts={"math": 8}, local_folder=source, seed=seed)
        return {problem.problem_id for problem in load_mixture(folder)["math"]}

    first = prepared("a", 0)
    rows = json.loads((source / "deepscaler.json").read_text())
    (source / "deepscaler.json").write_text(json.dumps(rows[::-1]))
    assert prepared("b", 0) == first
    assert prepared("c", 1) != first
    assert len(first) == 8


def test_finished_tasks_are_left_alone_and_damaged_ones_made_again(tmp_path: Path) -> None:
    source, out = write_source(tmp_path / "in"), tmp_path / "out"
    calls: list[tuple[str, str, int]] = []

    def prepare() -> int:
        calls.clear()
        prepare_mixture(
            out, sources=MATH, local_folder=source, on_progress=lambda *call: calls.append(call)
        )
        return len(calls)

    assert prepare() == 2
    assert calls == [("math", "reading", 23), ("math", "writing", 23)]
    before = (out / "math.jsonl").read_bytes()
    assert prepare() == 0
    (out / "math.jsonl").write_bytes(before[:-10])
    with pytest.raises(ValueError, match=r"math\.jsonl: missing, or not the file"):
        load_mixture(out)
    assert prepare() == 2
    assert (out / "math.jsonl").read_bytes() == before
    write_source(source, num_rows=21)
    assert prepare() == 2


def test_an_interrupted_task_keeps_the_others(tmp_path: Path) -> None:
    source, out = write_source(tmp_path / "in"), tmp_path / "out"
    logic = [Problem("logic/0", "logic", "p", "a", {"entry": {"k": [1]}})]
    broken = replace(SOURCES["stem"], files=("absent.jsonl",))
    with pytest.raises(ValueError, match=r"absent\.jsonl is neither at"):
        prepare_mixture(
            out,
            tasks=["math", "logic", "stem"],
            sources={**MATH, "stem": broken},
            generated={"logic": as_input(logic)},
            local_folder=source,
        )

    assert set(read_manifest(out)) == {"math", "logic"}
    assert load_mixture(out)["logic"] == logic
    assert not list(out.glob("*partial*"))


def test_a_changed_schema_is_named_by_file_and_row(tmp_path: Path) -> None:
    (tmp_path / "deepscaler.json").write_text(
        '[{"problem": "p", "answer": "1"}, {"question": "p"}]'
    )
    with pytest.raises(ValueError, match=r"deepscaler\.json:2: lacks the column 'problem'"):
        prepare_mixture(tmp_path / "out", sources=MATH, local_folder=tmp_path)
    with pytest.raises(ValueError, match="no source for task 'maths'"):
        prepare_mixture(tmp_path / "out", tasks=["maths"], sources=MATH, local_folder=tmp_path)


def test_preview_shows_the_first_problems_of_a_task(tmp_path: Path) -> None:
    prepare_mixture(tmp_path / "out", sources=MATH, local_folder=write_source(tmp_path / "in"))
    preview = format_preview(tmp_path / "out", task="math", num_problems=2)
    assert "== math: 21 problems in math.jsonl" in preview
    assert preview.count("prompt: What is") == 2
    assert "answer: 2" in preview
    with pytest.raises(ValueError, match="has no task 'code'; it has math"):
        format_preview(tmp_path / "out", task="code")


def test_a_damaged_manifest_is_an_error(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).write_text('{"version": 99, "tasks": {}}')
    with pytest.raises(ValueError, match="not a manifest of a mixture"):
        read_manifest(tmp_path)
    with pytest.raises(ValueError, match="prepare a mixture first"):
        load_mixture(tmp_path / "empty")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "f.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), open_atomic(path) as file:  # noqa: PT012
        file.write("new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_lone_surrogates_survive(tmp_path: Path) -> None:
    problem = Problem("logic/0", "logic", "\ud800 ?", "a")
    prepare_mixture(tmp_path, sources={}, generated={"logic": as_input([problem])})
    assert load_mixture(tmp_path)["logic"] == [problem]
