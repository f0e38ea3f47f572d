"""The reward service: sandboxed programs per second, and a mixture with hostile items.

`python -m benchmarks.rewards` prints one line a measurement, all of wall time, with the
load of the machine before it. The plain interpreter without any protection is run beside.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from prorl_nemo.tasks.base import Problem, Task
from prorl_nemo.tasks.code import CodeTask
from prorl_nemo.tasks.math import MathTask
from prorl_nemo.tasks.reward_pool import RewardPool
from prorl_nemo.tasks.sandbox import Sandbox, SandboxLimits
from prorl_nemo.tasks.sandbox_command import find_python

NUM_PROGRAMS = 300
NUM_MIXED = 10_000
HOSTILE_SHARE = 0.05
CODE_SHARE = 0.10
PROGRAM = "print(int(input()) + 1)"
HOSTILE_PROGRAMS = (
    "while True: pass",
    "import time; time.sleep(1000)",
    "import os\nwhile True: os.fork()",
    "blocks = []\nwhile True: blocks.append(bytearray(10 << 20))",
    "while True: print('x' * 1000)",
    "import os, signal; os.kill(-1, signal.SIGKILL)",
)
HOSTILE_FORMULAS = ("9^{9^{9^{9}}}", "{" * 900 + "x" + "}" * 900, r"\sqrt{" * 200 + "2" + "}" * 200)


@dataclass(frozen=True)
class Rate:
    """``num_items`` in ``seconds`` of wall time."""

    name: str
    num_items: int
    seconds: float
    load: float

    def __str__(self) -> str:
        rate = self.num_items / self.seconds
        return f"{self.name:<58} {rate:9.1f} /s  ({self.seconds:6.1f} s, load {self.load:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mixed", action="store_true", help=f"also {NUM_MIXED} mixed rewards")
    should_mix = parser.parse_args().mixed
    print(measure_plain_interpreter())
    for num_tests in (1, 10, 100):
        print(measure_programs(num_tests=num_tests))
    if should_mix:
        print(measure_mixture())


def measure(name: str, num_items: int, work: Callable[[], object]) -> Rate:
    load = os.getloadavg()[0]
    started = time.perf_counter()
    work()
    return Rate(name, num_items, time.perf_counter() - started, load)


def measure_plain_interpreter() -> Rate:
    """What the same program costs in a bare interpreter: no limits, no isolation."""
    command = [find_python(), "-S", "-c", PROGRAM]

    def run(_: int) -> None:
        subprocess.run(command, input=b"1\n", capture_output=True, check=True)

    def run_all() -> None:
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            list(threads.map(run, range(NUM_PROGRAMS)))

    return measure("plain interpreter, UNPROTECTED, 1 test", NUM_PROGRAMS, run_all)


def measure_programs(*, num_tests: int) -> Rate:
    """Responses with trivial programs; the rate counts runs, that is tests."""
    num_responses = max(10, NUM_PROGRAMS // num_tests)
    problem = code_problem(num_tests=num_tests)
    items = [(problem, fenced(PROGRAM))] * num_responses
    with RewardPool([CodeTask("code", [problem])], num_workers=2 * (os.cpu_count() or 1)) as pool:
        pool.score_all(items[:4])
        name = f"sandboxed program, {num_tests} tests a response"
        return measure(name, num_responses * num_tests, lambda: check(pool, items))


def check(pool: RewardPool, items: Sequence[tuple[Problem, str]]) -> None:
    assert all(score.reward == 1.0 for score in pool.score_all(items))


def measure_mixture() -> Rate:
    """10,000 rewards of code and mathematics, 5% of them hostile, through one pool."""
    limits = SandboxLimits(cpu_seconds=1.0, wall_seconds=2.0)
    tasks: list[Task] = [
        CodeTask("code", [], sandbox=Sandbox(limits)),
        MathTask("math", [], time_limit_seconds=1.0),
    ]
    generator = random.Random(0)
    items = [mixed_item(index, generator) for index in range(NUM_MIXED)]
    with RewardPool(tasks, num_workers=2 * (os.cpu_count() or 1), timeout_seconds=10) as pool:
        rate = measure("mixture, 5% hostile", NUM_MIXED, lambda: check_mixture(pool, items))
        for name, value in pool.take_metrics().to_scalars().items():
            print(f"    {name:<54} {value:9.1f}")
    return rate


def check_mixture(pool: RewardPool, items: Sequence[tuple[Problem, str]]) -> None:
    scores = pool.score_all(items)
    assert len(scores) == len(items)
    for (problem, _), score in zip(items, scores, strict=True):
        assert score.reward == (0.0 if problem.problem_id.startswith("hostile") else 1.0), problem


def mixed_item(index: int, generator: random.Random) -> tuple[Problem, str]:
    """A program or a boxed answer, each hostile at the same rate."""
    is_hostile = generator.random() < HOSTILE_SHARE
    is_code = generator.random() < CODE_SHARE
    identity = f"{'hostile' if is_hostile else 'honest'}-{index}"
    if is_code:
        program = generator.choice(HOSTILE_PROGRAMS) if is_hostile else PROGRAM
        problem = code_problem(num_tests=3)
        return Problem(identity, "code", "", "", problem.metadata), fenced(program)
    formula = generator.choice(HOSTILE_FORMULAS) if is_hostile else str(index)
    return Problem(identity, "math", "", str(index)), rf"Hence \boxed{{{formula}}}."


def code_problem(*, num_tests: int) -> Problem:
    tests = {
        "inputs": [f"{number}\n" for number in range(num_tests)],
        "outputs": [f"{number + 1}\n" for number in range(num_tests)],
    }
    return Problem("add-one", "code", "Add one.", "", {"tests": tests})


def fenced(program: str) -> str:
    return f"```python\n{program}\n```"


if __name__ == "__main__":
    main()
