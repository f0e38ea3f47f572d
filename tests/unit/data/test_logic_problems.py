"""Reasoning Gym's share as a file: which data sets, which problems, and the same scores."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from prorl_nemo.config import TaskConfig
from prorl_nemo.data.logic_problems import (
    NUM_PROBLEMS,
    LogicPart,
    generate_part,
    logic_input,
    plan_parts,
)
from prorl_nemo.data.mixture_files import read_manifest
from prorl_nemo.data.prepare import prepare_mixture
from prorl_nemo.data.problem_files import format_row, load_problems
from prorl_nemo.tasks.base import Problem
from prorl_nemo.tasks.logic import HASH_DEPENDENT, PAPER_HELD_OUT, LogicTask
from prorl_nemo.tasks.logic_file import LogicFileTask
from prorl_nemo.tasks.logic_guard import UNSAFE_SCORERS
from prorl_nemo.tasks.registry import make_task

CAMPAIGN = Path(__file__).parents[3] / "conf" / "prorl_1.5b.yaml"


def test_the_counts_are_spread_over_the_data_sets_of_the_shipped_campaign() -> None:
    parts = plan_parts("logic", NUM_PROBLEMS["logic"])
    entries = re.findall(r"task: reasoning_gym/(\w+), weight: 0.385", CAMPAIGN.read_text())
    assert [part.dataset for part in parts] == entries
    assert Counter(part.num_problems for part in parts) == {386: 40, 385: 56}
    assert not {part.dataset for part in parts} & set(PAPER_HELD_OUT)
    validation = plan_parts("logic_validation", NUM_PROBLEMS["logic_validation"])
    assert {part.num_problems for part in validation} == {100}
    assert len(plan_parts("logic", 5)) == 5


def test_training_and_validation_share_no_item() -> None:
    taken: set[int] = set()
    for task, count in NUM_PROBLEMS.items():
        for part in plan_parts(task, count):
            items = set(range(part.seed, part.seed + 4 * part.num_problems))
            assert not items & taken
            taken |= items


def test_each_prompt_of_a_data_set_comes_once() -> None:
    # Two lengths of words: this data set has few different problems.
    part = LogicPart("count_bits", 7, 12, {"min_n": 1, "max_n": 15})
    problems = list(generate_part(part))
    assert len({problem.prompt for problem in problems}) == len(problems) == 12
    few = LogicPart("count_bits", 7, 12, {"min_n": 1, "max_n": 3})
    assert len(list(generate_part(few))) == 3


def test_problems_from_a_file_score_as_those_made_in_place(tmp_path: Path) -> None:
    names = ["gcd", "graph_color", "count_primes", "gsm_symbolic", "game_of_life", "sudoku"]
    problems = [p for name in names for p in generate_part(LogicPart(name, 5, 4, {}))]
    path = tmp_path / "logic.jsonl"
    path.write_text("".join(format_row(problem) for problem in problems))
    config = TaskConfig(
        name="mine", task="logic", weight=1, num_problems=None, seed=0, params={"path": str(path)}
    )
    task = make_task(config)
    assert len(task) == 24
    rewards = set()
    for name, first in zip(names, range(0, 24, 4), strict=True):
        in_place = LogicTask(name, name, seed=5, num_problems=16, dataset_config={})
        for index in range(first, first + 4):
            problem = task[index]
            twin = in_place[int(problem.problem_id.rpartition("/")[2]) - 5]
            assert (problem.prompt, problem.answer) == (twin.prompt, twin.answer)
            for answer in (problem.answer, "1", "[[1]]", "{}", ""):
                response = f"<think>so</think><answer>{answer}</answer>"
                score = task.score(problem, response)
                assert score == in_place.score(twin, response)
                rewards.add(score.reward)
    assert {0.0, 1.0} < rewards  # and something between


def test_a_problem_of_no_data_set_is_named() -> None:
    entry = {"question": "?", "answer": "1", "metadata": {}}

    def make(**metadata: object) -> LogicFileTask:
        return LogicFileTask("mine", [Problem("logic/1", "mine", "?", "1", metadata)])

    with pytest.raises(ValueError, match=r"^mine: logic/1: metadata must hold dataset"):
        make(entry=entry)
    with pytest.raises(ValueError, match=r"^mine: logic/1: metadata must hold entry"):
        make(dataset="gcd", config={})
    with pytest.raises(ValueError, match=r"^mine: logic/1: reasoning_gym has no data set 'x'"):
        make(dataset="x", config={}, entry=entry)
    with pytest.raises(ValueError, match=r"^mine: logic/1: gcd refuses its settings"):
        make(dataset="gcd", config={"nope": 1}, entry=entry)
    task = make(dataset="gcd", config={}, entry=entry)
    assert task.score(task[0], "<answer>1</answer>").reward == 1.0
    stranger = Problem("logic/2", "mine", "?", "1", {"dataset": "lcm", "config": {}, "entry": {}})
    assert task.score(stranger, "1").failure == "unknown_problem"
    assert task.score(Problem("x", "mine", "?", "1"), "1").failure == "unknown_problem"


def test_one_scorer_that_may_hang_isolates_the_task() -> None:
    def make(*names: str) -> LogicFileTask:
        problems = [p for name in names for p in generate_part(LogicPart(name, 5, 1, {}))]
        return LogicFileTask("mine", problems)

    assert not make("gcd", "lcm").needs_isolation
    assert make("gcd", "countdown").needs_isolation


def test_a_preparation_that_was_interrupted_goes_on_with_the_next_data_set(
    tmp_path: Path,
) -> None:
    parts_folder = tmp_path / "parts"
    logic = logic_input("logic", 3, parts_folder)
    reading = logic.read()
    first = next(reading)
    assert isinstance(first, Problem)
    (part,) = parts_folder.iterdir()
    written = part.stat().st_mtime_ns
    manifest = prepare_mixture(tmp_path / "out", sources={}, generated={"logic": logic})
    assert part.stat().st_mtime_ns == written
    assert manifest["logic"].num_problems == 3
    rows = load_problems(tmp_path / "out" / "logic.jsonl", task="logic")
    assert rows[0] == first


def run_prepare(folder: Path, *words: str, hash_seed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "prorl_nemo.cli", "data", "prepare", str(folder), *words],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_writes_what_the_library_writes(tmp_path: Path) -> None:
    done = run_prepare(tmp_path / "a", "--task", "logic", "--count", "logic=4", hash_seed="0")
    assert done.returncode == 0, done.stderr
    assert "logic: 4 of 4 problems in logic.jsonl" in done.stdout
    logic = logic_input("logic", 4, tmp_path / "parts")
    again = prepare_mixture(tmp_path / "b", sources={}, generated={"logic": logic})
    assert read_manifest(tmp_path / "a") == again
    files = {path.name for path in (tmp_path / "a").iterdir()}
    assert files == {"logic.jsonl", "manifest.json"}


@pytest.mark.slow
def test_every_data_set_goes_through_the_command_and_scores_its_own_answers(
    tmp_path: Path,
) -> None:
    words = ["--task", "logic", "--count", "logic=192"]
    done = run_prepare(tmp_path, *words, hash_seed="0")
    assert done.returncode == 0, done.stderr
    problems = load_problems(tmp_path / "logic.jsonl", task="logic")
    assert len(problems) == 192
    task = LogicFileTask("logic", problems)
    # These give no answer, only what their scorer needs.
    no_answer = {"graph_color", "propositional_logic", "rubiks_cube", "rush_hour"}
    for problem in problems:
        json.dumps(dict(problem.metadata))
        dataset = problem.metadata["dataset"]
        reward = task.score(problem, f"<answer>{problem.answer}</answer>").reward
        assert reward == 1.0 or dataset in no_answer, (dataset, problem.answer)
        if dataset not in UNSAFE_SCORERS | HASH_DEPENDENT:
            assert task.score(problem, "<answer>\x00</answer>").reward <= 0.05
