from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prorl_nemo.config import TaskConfig
from prorl_nemo.tasks.registry import DOMAINS, make_task, make_tasks


def entry(**changes: Any) -> TaskConfig:
    values = {
        "name": "mine",
        "task": "reasoning_gym/gcd",
        "weight": 1.0,
        "num_problems": 5,
        "seed": 1,
        "params": {},
    }
    return TaskConfig(**{**values, **changes})


def test_a_logic_task() -> None:
    task = make_task(entry(params={"config": {"max_value": 9}, "answer_format": "whole_response"}))
    assert (task.name, len(task), task[0].task) == ("mine", 5, "mine")
    assert task.score(task[0], task[0].answer).reward == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "nope"}, r"^mine: unknown task 'nope'; known: reasoning_gym/<data set>, code"),
        ({"task": ""}, r"^mine: unknown task ''"),
        ({"task": "reasoning_gym/nope"}, r"^mine: reasoning_gym has no data set 'nope'"),
        ({"params": {"confg": {}}}, r"^mine: params.confg: no such key"),
        ({"params": {"answer_format": "boxed"}}, r"^mine: params.answer_format: answer_tag or"),
        ({"num_problems": None}, r"^mine: num_problems: Reasoning Gym needs a number"),
        ({"task": "logic", "params": {"reward_mode": "x"}}, r"^mine: params.reward_mode: cont"),
        ({"task": "math"}, r"^mine: params.path: a file of problems is needed"),
        ({"task": "math", "params": {"path": "/nowhere.jsonl"}}, r"/nowhere.jsonl"),
    ],
)
def test_a_faulty_entry_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_task(entry(**changes))


def test_every_domain_reads_a_file_of_problems(tmp_path: Path) -> None:
    assert sorted(DOMAINS) == ["code", "instructions", "logic", "math", "stem"]
    path = tmp_path / "math.jsonl"
    rows = [{"problem_id": f"m/{i}", "prompt": f"{i}?", "answer": str(i)} for i in range(9)]
    path.write_text("".join(json.dumps({**row, "metadata": {}}) + "\n" for row in rows))
    task = make_task(entry(task="math", num_problems=None, params={"path": str(path)}))
    assert len(task) == 9
    some = [make_task(entry(task="math", params={"path": str(path)})) for _ in range(2)]
    assert len(some[0]) == 5
    assert [some[0][i] for i in range(5)] == [some[1][i] for i in range(5)]
    with pytest.raises(ValueError, match="num_problems: 10, but"):
        make_task(entry(task="math", num_problems=10, params={"path": str(path)}))


def test_tasks_come_in_order() -> None:
    names = [task.name for task in make_tasks([entry(name="b"), entry(name="a")])]
    assert names == ["b", "a"]
