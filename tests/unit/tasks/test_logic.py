"""Every Reasoning Gym data set as a task: its own answers pay, junk does not, nothing raises.

The scores of the data set's own answers are compared with what its stock scorer says; the
few data sets whose answers don't get full marks are listed.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from reasoning_gym.factory import DATASETS

from prorl_nemo.tasks.base import Problem
from prorl_nemo.tasks.logic import HASH_DEPENDENT, PAPER_HELD_OUT, LogicTask
from prorl_nemo.tasks.logic_guard import UNSAFE_SCORERS

ALL = sorted(set(DATASETS) - {"composite"})
# Items that take a tenth of a second or more to make.
SLOW_GENERATORS = {"knight_swap", "futoshiki", "zebra_puzzles", "puzzle24", "rush_hour", "arc_agi"}
SAMPLED = sorted(set(ALL[::3]) - SLOW_GENERATORS - HASH_DEPENDENT)
JUNK = (
    "",
    " ",
    "x",
    "0",
    "nan",
    "[]",
    "{}",
    "\x00",
    "9" * 400,
    "(((",
    "é" * 50,
    "1/0",
    "None",
    "-",
)
# Wrong for every problem.
WRONG = ("", "x", "\x00", "é" * 50, "x" * 20_000, "(" * 20_000, "x" * 1_000_000, "1 " * 500_000)
# What the stock scorers pay for an answer that is certainly wrong: ten data sets give 0.01,
# others a share for format or partial overlap.
JUNK_FLOOR = 0.05


def make_task(dataset: str, *, size: int = 3, seed: int = 77, **options: object) -> LogicTask:
    values = {"answer_format": "whole_response", "dataset_config": {}, **options}
    return LogicTask(dataset, dataset, seed=seed, num_problems=size, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("dataset", SAMPLED)
def test_a_data_set_works(dataset: str) -> None:
    check(dataset, size=2)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", sorted(set(ALL) - HASH_DEPENDENT))
def test_every_data_set_works(dataset: str) -> None:
    check(dataset, size=3)


def check(dataset: str, *, size: int) -> None:
    task = make_task(dataset, size=size)
    problems = [task[i] for i in range(size)]
    assert len({problem.problem_id for problem in problems}) == size
    for problem in problems:
        assert problem.prompt
        oracle = task.score(problem, problem.answer)
        assert oracle.failure is None, problem.answer
        assert oracle.reward >= EXCEPTIONS.get(dataset, 1.0), problem.answer
        if dataset in UNSAFE_SCORERS:
            continue  # scored in a worker only: see the reward pool's tests
        for text in JUNK:
            if text.strip() == problem.answer.strip():
                continue
            assert 0.0 <= task.score(problem, text).reward <= 1.0
        rewards = [task.score(problem, text).reward for text in WRONG]
        assert max(rewards) <= JUNK_FLOORS.get(dataset, JUNK_FLOOR)


# Least reward of the data set's own answer, where it is not 1.
# These five give no answer (None), only what their scorer needs to check one.
EXCEPTIONS = dict.fromkeys(
    ("boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"), 0.0
)
# Reward of junk where it is more than JUNK_FLOOR.
JUNK_FLOORS: dict[str, float] = {}


def test_problems_are_a_function_of_seed_and_index() -> None:
    one, two = make_task("gcd", size=9), make_task("gcd", size=9)
    assert [one[i] for i in (3, 0, 8)] == [two[i] for i in (3, 0, 8)]
    assert one[0].problem_id == "gcd/77/0"
    assert one[1].prompt == make_task("gcd", seed=78)[0].prompt  # item i has seed + i ...
    far = make_task("gcd", size=9, seed=77_000)
    ours, theirs = ({task[i].prompt for i in range(9)} for task in (one, far))
    assert not ours & theirs  # ... so seeds further apart than sizes share nothing


def test_beyond_the_end() -> None:
    task = make_task("gcd", size=2)
    assert len(task) == 2
    for index in (2, -1):
        with pytest.raises(IndexError):
            task[index]


def test_settings_of_the_data_set_are_used() -> None:
    task = make_task("spell_backward", dataset_config={"min_word_len": 4, "max_word_len": 4})
    assert {len(task[i].answer) for i in range(3)} == {4}


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"^gcd: gcd refuses its settings: .*nope"):
        make_task("gcd", dataset_config={"nope": 1})
    with pytest.raises(ValueError, match=r"^gcd: gcd refuses its settings: "):
        make_task("gcd", dataset_config={"min_numbers": 9, "max_numbers": 2})
    with pytest.raises(ValueError, match=r"^x: reasoning_gym has no data set 'x'"):
        make_task("x")


@pytest.mark.parametrize(
    ("response", "reward"),
    [
        ("<answer>{}</answer>", 1.0),
        ("thinking\n<answer>\n {} \n</answer> done", 1.0),
        ("<answer>no</answer> or <answer>{}</answer>", 1.0),
        ("<answer>{}</answer> or <answer>no</answer>", 0.0),
        ("<think><answer>{}</answer></think><answer>no</answer>", 0.0),
        ("<think><answer>{}</answer></think>", 0.0),
        ("<think>hm</think><answer>{}</answer>", 1.0),
        ("<answer>{}", 0.0),
        ("{}</answer>", 0.0),
        ("{}", 0.0),
        ("", 0.0),
    ],
)
def test_the_answer_is_the_last_closed_tag_behind_the_reasoning(
    response: str, reward: float
) -> None:
    task = make_task("gcd", answer_format="answer_tag")
    problem = task[0]
    assert problem.prompt.endswith("between <answer> and </answer>.")
    assert task.score(problem, response.replace("{}", problem.answer)).reward == reward


def test_a_scorer_that_raises_gives_nothing_and_is_counted() -> None:
    task = make_task("gcd")
    broken = Problem("gcd/77/0", "gcd", "?", "1", {"entry": {}})
    score = task.score(broken, "1")
    assert (score.reward, score.failure) == (0.0, "verifier_error")


def test_a_scorer_that_leaves_the_unit_interval_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = make_task("gcd")
    for value in (2.0, -0.5, float("nan")):
        monkeypatch.setattr(
            type(task._dataset), "score_answer", lambda self, answer, entry, value=value: value
        )
        score = task.score(task[0], "1")
        assert (score.reward, score.failure) == (0.0, "verifier_error")


def test_scorers_that_may_hang_ask_for_isolation() -> None:
    for dataset in sorted(UNSAFE_SCORERS - HASH_DEPENDENT - SLOW_GENERATORS):
        assert make_task(dataset, size=1).needs_isolation
    assert not make_task("gcd").needs_isolation
    assert set(DATASETS) >= UNSAFE_SCORERS | HASH_DEPENDENT | set(PAPER_HELD_OUT)


HASH_PROBE = """
import hashlib, sys
from prorl_nemo.tasks.logic import HASH_DEPENDENT, LogicTask
for name in sys.argv[1:]:
    task = LogicTask(name, name, seed=5, num_problems=6, dataset_config={})
    text = "".join(task[i].prompt + task[i].answer for i in range(6))
    print(name, hashlib.sha256(text.encode()).hexdigest())
"""


def probe(hash_seed: str, names: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(
        [sys.executable, "-c", HASH_PROBE, *names],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_data_sets_that_depend_on_the_hash_seed_want_a_fixed_one() -> None:
    refused = probe("random", ["isomorphic_strings"])
    assert refused.returncode != 0
    assert "set PYTHONHASHSEED=0" in refused.stderr


@pytest.mark.slow
def test_only_the_listed_data_sets_depend_on_the_hash_seed() -> None:
    names = sorted(set(ALL) - SLOW_GENERATORS)
    outputs = [probe(seed, names).stdout.split("\n") for seed in ("1", "2")]
    assert len(outputs[0]) == len(names) + 1
    changed = {a.split()[0] for a, b in zip(*outputs, strict=True) if a != b}
    assert changed <= HASH_DEPENDENT
