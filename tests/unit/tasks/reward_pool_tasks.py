"""Tasks whose verifiers behave as the response tells them to, importable by the workers."""

from __future__ import annotations

import ctypes
import os
import sys
import time

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
        if command == "value":
            return Score(float(argument))
        if command == "wait":
            time.sleep(float(argument))
        elif command == "hang":
            while True:
                pass
        elif command == "hang_in_c":
            9**9**9  # noqa: B018
        elif command == "crash":
            ctypes.string_at(0)
        elif command == "exit":
            os._exit(0)
        elif command == "raise":
            raise RuntimeError("a verifier's bug")
        elif command == "raise_base":
            raise SystemExit(3)
        elif command == "fail":
            return Score(0.0, argument)
        elif command == "pid":
            return Score(os.getpid() / 2**32)
        elif command == "torch":
            return Score(float("torch" in sys.modules))
        elif command == "crash_once":
            if not os.path.exists(argument):
                with open(argument, "w"):
                    pass
                os._exit(1)
            return Score(1.0)
        return Score(0.5)


class UnloadableTask(ObedientTask):
    """Can be pickled, but not unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (_refuse, ())


def _refuse() -> None:
    raise ValueError("this task loads nowhere")
