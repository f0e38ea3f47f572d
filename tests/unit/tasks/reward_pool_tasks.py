"""Tasks whose verifiers behave as the response tells them to, importable by the workers."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable

from prorl_nemo.tasks.base import Problem, Score


class ObedientTask:
    """``score`` does what the response says; the reward of "value x" is x."""

    def __init__(self, name: str, *, needs_isolation: bool = True) -> None:
        self.name = name
        self.needs_isolation = needs_isolation

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Problem:
        return Problem(f"{self.name}-{index}", self.name, "obey", "")

    def score(self, problem: Problem, response: str) -> Score:
        command, _, argument = response.partition(" ")
        return COMMANDS[command](argument) or Score(0.5)


class SlowToLoadTask(ObedientTask):
    """Takes two seconds to load; a response is scored at once, and 0 before that."""

    is_loaded = False

    def load_verifier(self) -> None:
        time.sleep(2.0)
        self.is_loaded = True

    def score(self, problem: Problem, response: str) -> Score:
        return Score(float(self.is_loaded))


def hang(argument: str) -> None:
    while True:
        pass


def fail_by_base_exception(argument: str) -> None:
    raise SystemExit(3)


def crash_once(path: str) -> Score:
    if not os.path.exists(path):
        with open(path, "w"):
            pass
        os._exit(1)
    return Score(1.0)


COMMANDS: dict[str, Callable[[str], Score | None]] = {
    "value": lambda argument: Score(float(argument)),
    "slow_value": lambda argument: time.sleep(0.002) or Score(float(argument)),
    "fail": lambda argument: Score(0.0, argument),
    "wait": lambda argument: time.sleep(float(argument)),
    "hang": hang,
    "hang_in_c": lambda argument: print(int("9") ** 9**9),
    "crash": lambda argument: print(ctypes.string_at(0)),
    "exit": lambda argument: os._exit(0),
    "raise": lambda argument: print(argument[1]),
    "raise_base": fail_by_base_exception,
    "crash_once": crash_once,
    "pid": lambda argument: Score(os.getpid() / 2**32),
    "torch": lambda argument: Score(float("torch" in sys.modules)),
}


class UnloadableTask(ObedientTask):
    """Can be pickled, but not unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (_refuse, ())


def _refuse() -> None:
    raise ValueError("this task loads nowhere")
