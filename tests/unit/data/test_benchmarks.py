"""Published benchmarks by name: their rows become problems that the right answer solves."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from prorl_nemo.commands.data import add_arguments, run
from prorl_nemo.config_loading import load_config
from prorl_nemo.data.benchmark_rows import (
    MAX_HIDDEN_TEST_BYTES,
    convert_gpqa,
    convert_human_eval,
    convert_ifeval,
    convert_live_code_bench,
    math_row,
    prime_row,
)
from prorl_nemo.data.benchmarks import BENCHMARKS
from prorl_nemo.data.mixture_files import read_manifest
from prorl_nemo.data.problem_files import load_problems
from prorl_nemo.data.source_rows import BOXED_INSTRUCTION, SkippedRow
from prorl_nemo.tasks.base import Problem, Task
from prorl_nemo.tasks.code import CodeTask
from prorl_nemo.tasks.instructions import InstructionTask
from prorl_nemo.tasks.math import MathTask
from prorl_nemo.tasks.sandbox_probe import check_sandbox
from prorl_nemo.tasks.stem import StemTask
from tests.support.campaigns import REPOSITORY

STATUS = check_sandbox()
needs_sandbox = pytest.mark.skipif(not STATUS.is_usable, reason=STATUS.message)

HUMAN_EVAL = {
    "task_id": "HumanEval/900",
    "prompt": "from typing import List\n\ndef halve(xs: List[int]) -> List[float]:\n",
    "canonical_solution": "    return [x / 2 for x in xs]\n",
    "entry_point": "halve",
    "test": "def check(candidate):\n    assert candidate([1, 4]) == [0.5, 2.0]\n",
}
# The layout of HumanEval+'s tests, which need numpy where they were published.
HUMAN_EVAL_PLUS_TEST = """\
import numpy as np

def is_floats(x) -> bool:
    if isinstance(x, (list, tuple)):
        return all(isinstance(i, float) for i in x)
    return isinstance(x, (float, np.ndarray))

def assertion(out, exp, atol):
    if atol == 0 and is_floats(exp):
        atol = 1e-6
    if out != exp and atol != 0:
        assert np.allclose(out, exp, rtol=1e-07, atol=atol)
    else:
        assert out == exp

def check(candidate):
    inputs = [[[1, 4]], [[]], [[3]]]
    results = [[0.5, 2.0], [], [1.5000000001]]
    for inp, exp in zip(inputs, results):
        assertion(candidate(*inp), exp, 0)
"""
GPQA = {
    "Question": "Which particle carries no charge?",
    "Correct Answer": "neutron",
    "Incorrect Answer 1": "electron",
    "Incorrect Answer 2": "proton",
    "Incorrect Answer 3": "muon",
}


def hidden(cases: object) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()


def live_code_bench(**columns: object) -> dict[str, object]:
    row = {
        "question_id": "q1",
        "question_content": "Add two numbers.",
        "starter_code": "",
        "public_test_cases": json.dumps([{"input": "1 2\n", "output": "3", "testtype": "stdin"}]),
        "private_test_cases": hidden([{"input": "5 6\n", "output": "11", "testtype": "stdin"}]),
        "metadata": "{}",
    }
    return {**row, **columns}


def fenced(program: str) -> str:
    return f"```python\n{program}\n```"


def reward(task_type: type[Task], problem: Problem | SkippedRow, response: str) -> float:
    assert isinstance(problem, Problem)
    return task_type(problem.task, [problem]).score(problem, response).reward  # type: ignore[call-arg]


def test_every_benchmark_of_the_paper_has_a_source() -> None:
    mathematics = {"aime24", "aime25", "amc", "math500", "minerva", "olympiadbench"}
    programs = {"apps", "codecontests", "codeforces", "taco", "livecodebench"}
    functions = {"humaneval", "humanevalplus"}
    assert set(BENCHMARKS) == mathematics | programs | functions | {"gpqa", "ifeval"}
    for name, source in BENCHMARKS.items():
        assert source.task == name
        assert source.revision == "main" or int(source.revision, 16)


@pytest.mark.parametrize(
    ("columns", "row", "answer"),
    [
        ({}, {"problem": "1+1?", "answer": "2"}, "2"),
        ({}, {"problem": "1+1?", "answer": 142.0}, "142"),
        ({"problem": "question"}, {"question": "1+1?", "answer": " 2 "}, "2"),
        (
            {"problem": "question", "answer": "final_answer"},
            {"question": "1+1?", "final_answer": ["2", "3"], "context": None},
            "2, 3",
        ),
    ],
)
def test_mathematics(columns: dict[str, str], row: dict[str, object], answer: str) -> None:
    problem = math_row(**columns)(row)
    assert isinstance(problem, Problem)
    assert problem.prompt == f"1+1? {BOXED_INSTRUCTION}"
    assert problem.answer == answer
    assert reward(MathTask, problem, rf"\boxed{{{answer}}}") == 1.0
    assert reward(MathTask, problem, r"\boxed{7}") == 0.0


def test_what_a_problem_refers_to_comes_before_it() -> None:
    problem = math_row("question")({"context": "Let x = 2.", "question": "2x?", "answer": "4"})
    assert isinstance(problem, Problem)
    assert problem.prompt.startswith("Let x = 2.\n2x?")
    assert math_row()({"problem": "?", "answer": None}) == SkippedRow("no answer")
    with pytest.raises(ValueError, match="lacks the column 'answer'"):
        math_row()({"problem": "?"})


def test_choices_stand_in_an_order_of_the_question_alone() -> None:
    problem = convert_gpqa(GPQA)
    renamed = {**GPQA, "Incorrect Answer 1": "muon", "Incorrect Answer 3": "electron"}
    assert convert_gpqa(renamed) == problem
    choices = problem.metadata["choices"]
    assert isinstance(choices, dict)
    assert choices[problem.answer] == "neutron"
    assert all(f"({letter}) {text}" in problem.prompt for letter, text in choices.items())
    for letter in "ABCD":
        expected = float(letter == problem.answer)
        assert reward(StemTask, problem, rf"\boxed{{{letter}}}") == expected
    letters = {convert_gpqa({**GPQA, "Question": f"{i}?"}).answer for i in range(40)}
    assert letters == set("ABCD")


@needs_sandbox
@pytest.mark.parametrize("test", [HUMAN_EVAL["test"], HUMAN_EVAL_PLUS_TEST])
def test_human_eval(test: str) -> None:
    problem = convert_human_eval({**HUMAN_EVAL, "test": test})
    solution = HUMAN_EVAL["prompt"] + HUMAN_EVAL["canonical_solution"]
    assert reward(CodeTask, problem, fenced(solution)) == 1.0
    assert reward(CodeTask, problem, fenced(HUMAN_EVAL["prompt"] + "    pass")) == 0.0
    nearly = HUMAN_EVAL["prompt"] + "    return [x / 2 + 1e-4 for x in xs]"
    assert reward(CodeTask, problem, fenced(nearly)) == 0.0


@needs_sandbox
def test_live_code_bench_runs_public_and_hidden_tests() -> None:
    problem = convert_live_code_bench(live_code_bench())
    assert reward(CodeTask, problem, fenced("print(sum(map(int, input().split())))")) == 1.0
    assert reward(CodeTask, problem, fenced("print(3)")) == 0.5
    function = convert_live_code_bench(
        live_code_bench(
            starter_code="class Solution:\n    def add(self, a, b):\n        ",
            public_test_cases=json.dumps([{"input": "1\n2", "output": "3"}]),
            private_test_cases=json.dumps([{"input": "5\n6", "output": "11"}]),
            metadata=json.dumps({"func_name": "add"}),
        )
    )
    assert "Use this starting code." in function.prompt
    solution = "class Solution:\n    def add(self, a, b):\n        return a + b"
    assert reward(CodeTask, function, fenced(solution)) == 1.0


def test_hidden_tests_that_are_more_than_data_are_refused(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "pwned",))

    packed = base64.b64encode(zlib.compress(pickle.dumps(Attack()))).decode()
    for text in (packed, hidden({"input": "1"}), "", "AAAA", "{"):
        with pytest.raises(ValueError, match="private_test_cases can't be read"):
            convert_live_code_bench(live_code_bench(private_test_cases=text))
    assert not (tmp_path / "pwned").exists()
    assert MAX_HIDDEN_TEST_BYTES < 1 << 31


def test_prime_takes_the_rows_of_one_site() -> None:
    row = {
        "data_source": "apps",
        "ability": "code",
        "prompt": [{"role": "user", "content": "Add one."}],
        "reward_model": {"ground_truth": '{"inputs": ["1"], "outputs": ["2"]}'},
    }
    assert isinstance(prime_row("apps")(row), Problem)
    assert prime_row("taco")(row) == SkippedRow("of another benchmark")


def test_instruction_following_keeps_the_prompt() -> None:
    row = {"prompt": "No commas.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    problem = convert_ifeval(row)
    assert problem.prompt == "No commas."
    assert reward(InstructionTask, problem, "fine") == 1.0
    with pytest.raises(ValueError, match="unknown:id"):
        convert_ifeval({**row, "instruction_id_list": ["unknown:id"]})


def command(*words: object) -> int:
    import argparse

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args([str(word) for word in words]))


def test_the_command_writes_problem_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    (source / "math-ai" / "aime25").mkdir(parents=True)
    (source / "openai" / "openai_humaneval" / "openai_humaneval").mkdir(parents=True)
    (source / "math-ai" / "aime25" / "test.jsonl").write_text(
        '{"problem": "1+1?", "answer": "2", "id": "0"}\n'
    )
    parquet.write_table(
        pyarrow.Table.from_pylist([HUMAN_EVAL]),
        source / "openai" / "openai_humaneval" / "openai_humaneval" / "test-00000-of-00001.parquet",
    )
    (source / "gpqa_diamond.csv").write_text(
        ",".join(GPQA) + "\n" + ",".join(f'"{text}"' for text in GPQA.values()) + "\n"
    )
    names = ["aime25", "humaneval", "gpqa"]
    options = [word for name in names for word in ("--benchmark", name)]
    out = tmp_path / "out"
    assert command("benchmarks", out, "--local", source, *options) == 0
    said = capsys.readouterr().out
    assert "aime25: 1 of 30 problems in aime25.jsonl" in said
    assert "gpqa: it is gated" in said
    assert sorted(read_manifest(out)) == sorted(names)
    for name in names:
        (problem,) = load_problems(out / f"{name}.jsonl", task=name)
        assert problem.prompt
    with pytest.raises(ValueError, match=r"no benchmark 'aime26'; there are aime24, "):
        command("benchmarks", out, "--benchmark", "aime26")
    with pytest.raises(ValueError, match=r"google/IFEval: ifeval_input_data.jsonl is neither at"):
        command("benchmarks", out, "--local", source, "--benchmark", "ifeval")


def test_the_shipped_evaluation_has_the_protocol_of_the_paper(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PRORL_DATA", "/data")
    evaluation = load_config(REPOSITORY / "conf" / "paper_evaluation.yaml", []).prorl.evaluation
    assert (evaluation.num_samples, evaluation.temperature) == (16, 0.6)
    assert (evaluation.top_p, evaluation.max_new_tokens) == (0.95, 32_768)
    paths = {task.params.get("path") for task in evaluation.tasks}
    assert paths >= {f"/data/benchmarks/{name}.jsonl" for name in BENCHMARKS}
    held_out = {task.name for task in evaluation.tasks if task.role == "held_out_task"}
    assert held_out == {"acre", "boxnet", "game_of_life_halting"}
    sweep = [task.sweep_value for task in evaluation.tasks if task.role == "sweep"]
    assert sweep == [5, 10, 15, 20]
