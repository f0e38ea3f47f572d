"""Published cases graded by this project: where its verdicts differ from the originals'.

    python -m benchmarks.peer_verdicts math-verify FOLDER     # tests/ of huggingface/Math-Verify
    python -m benchmarks.peer_verdicts humaneval FILE         # HumanEval.jsonl of openai/human-eval
    python -m benchmarks.peer_verdicts stdin FILE             # rows with tests: inputs, outputs

Prints each verdict that differs; docs/rewards.md argues why. Exits non-zero if a reference
solution fails or an empty one passes.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from prorl_nemo.data.benchmark_rows import convert_human_eval
from prorl_nemo.tasks.base import Problem, Task
from prorl_nemo.tasks.code import CodeTask
from prorl_nemo.tasks.final_answer import last_boxed_answers
from prorl_nemo.tasks.math import MathTask
from prorl_nemo.tasks.reward_pool import RewardPool

FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
Item = tuple[Problem, str]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suite", choices=["math-verify", "humaneval", "stdin"])
    parser.add_argument("path", type=Path)
    arguments = parser.parse_args()
    if arguments.suite == "math-verify":
        compare_with_math_verify(arguments.path)
        return 0
    rows = [json.loads(line) for line in arguments.path.read_text().splitlines()]
    make_items = human_eval_items if arguments.suite == "humaneval" else stdin_items
    items = [make_items(row, number) for number, row in enumerate(rows)]
    right = score_code([right for right, _ in items])
    empty = score_code([empty for _, empty in items])
    print(f"{right.count(1.0)} of {len(right)} reference solutions score 1")
    print(f"{empty.count(0.0)} of {len(empty)} empty solutions score 0")
    return int(set(right) != {1.0} or set(empty) != {0.0})


def human_eval_items(row: dict[str, Any], number: int) -> tuple[Item, Item]:
    """The canonical solution, and the prompt with the body ``pass``."""
    problem = convert_human_eval(row)
    return (
        (problem, fenced(row["prompt"] + row["canonical_solution"])),
        (problem, fenced(row["prompt"] + "    pass\n")),
    )


def stdin_items(row: dict[str, Any], number: int) -> tuple[Item, Item]:
    """A program that looks the input up among the tests, and one that prints nothing.

    These sets come without solutions: this shows that inputs arrive and outputs are read whole.
    """
    problem = Problem(f"stdin/{number}", "code", row["problem"], "", {"tests": row["tests"]})
    table = dict(zip(row["tests"]["inputs"], row["tests"]["outputs"], strict=True))
    program = f"import sys\nprint({table!r}[sys.stdin.read()], end='')\n"
    return (problem, fenced(program)), (problem, fenced("pass\n"))


def score_code(items: list[Item]) -> list[float]:
    return score(CodeTask("code", [problem for problem, _ in items]), items)


def score(task: Task, items: list[Item]) -> list[float]:
    with RewardPool([task], num_workers=4, timeout_seconds=60) as pool:
        return [score.reward for score in pool.score_all(items)]


def fenced(program: str) -> str:
    return f"```python\n{program}\n```"


def compare_with_math_verify(folder: Path) -> None:
    cases = [case for path in sorted(folder.glob("test_*.py")) for case in math_cases(path)]
    problems = [
        Problem(f"{name}/{number}", "math", "?", unwrap(gold))
        for number, (name, gold, _, _) in enumerate(cases)
    ]
    responses = [boxed(prediction) for _, _, prediction, _ in cases]
    rewards = score(MathTask("math", problems), list(zip(problems, responses, strict=True)))
    num_equal = 0
    for (name, gold, prediction, expected), reward in zip(cases, rewards, strict=True):
        if reward == expected:
            num_equal += 1
        else:
            print(f"{name}: {gold!r} against {prediction!r}: {reward:.0f}, theirs {expected}")
    print(f"{num_equal} of {len(cases)} verdicts are those of the suite")


def math_cases(path: Path) -> Iterator[tuple[str, str, str, int]]:
    """(test, gold, prediction, expected) of each parametrized test of the file."""
    for name, test in vars(load(path)).items():
        for mark in getattr(test, "pytestmark", []):
            if mark.name != "parametrize":
                continue
            names = [part.strip() for part in mark.args[0].split(",")]
            if names[:3] == ["gold", "pred", "expected"]:
                for gold, prediction, expected, *_ in mark.args[1]:
                    yield name, gold, prediction, int(expected)


def load(path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.path.insert(0, str(path.parents[1]))
    specification.loader.exec_module(module)
    return module


def boxed(prediction: str) -> str:
    """The answer where the prompt asks for it: in a box."""
    return prediction if r"\boxed" in prediction else rf"\boxed{{{unwrap(prediction)}}}"


def unwrap(text: str) -> str:
    """What a text states: its last boxes, else its last formula, else itself."""
    if boxes := last_boxed_answers(text):
        return ",".join(boxes)
    formulas = FORMULA.findall(text)
    return "".join(formulas[-1]).strip() if formulas else text


if __name__ == "__main__":
    sys.exit(main())
