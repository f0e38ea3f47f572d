"""Attacks on the sandbox: none is rewarded, each ends in time, nothing of them remains."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from grader_attacks import FINDABLE_WITHOUT_A_SANDBOX, FUNCTION_PROGRAMS, GRADER_ATTACKS
from machine_attacks import MACHINE_ATTACKS

from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.tasks.code import CodeTask
from prorl_nemo.tasks.sandbox import Sandbox, SandboxLimits
from prorl_nemo.tasks.sandbox_probe import check_sandbox

STDIN_PROGRAMS = {**MACHINE_ATTACKS, **GRADER_ATTACKS}
STATUS = check_sandbox()
pytestmark = pytest.mark.skipif(not STATUS.is_usable, reason=STATUS.message)

LIMITS = SandboxLimits(cpu_seconds=1.0, wall_seconds=2.0, compile_seconds=5.0)
SECONDS_PER_PROGRAM = 12.0  # two seconds of running, the rest for a busy machine
ANSWER = f"answer-{os.urandom(8).hex()}"
STDIN_TESTS = {"inputs": ["apple\n", "pear\n"], "outputs": [ANSWER, ANSWER]}
FUNCTION_TESTS = {"fn_name": "answer", "inputs": [["a"], ["b"]], "outputs": [ANSWER, ANSWER]}


@pytest.fixture(scope="module")
def task() -> Iterator[CodeTask]:
    """The task; the answer lies in a file, on a command line and behind a socket."""
    with socket.socket(socket.AF_UNIX) as listener, answer_file(), answer_on_a_command_line():
        listener.bind("\0prorl-answers")
        listener.listen()
        threading.Thread(target=_tell_answer, args=(listener,), daemon=True).start()
        yield CodeTask("code", [], sandbox=Sandbox(LIMITS))


@contextlib.contextmanager
def answer_file() -> Iterator[None]:
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="prorl-answers") as folder:
        Path(folder).chmod(0o755)
        path = Path(folder, "answer.txt")
        path.write_text(ANSWER)
        path.chmod(0o644)
        yield


@contextlib.contextmanager
def answer_on_a_command_line() -> Iterator[None]:
    command = [sys.executable, "-c", "import time; time.sleep(600)", ANSWER]
    with subprocess.Popen(command) as process:
        yield
        process.kill()


def _tell_answer(listener: socket.socket) -> None:
    while True:
        try:
            listener.accept()[0].sendall(ANSWER.encode())
        except OSError:
            return


def grade(task: CodeTask, program: str, tests: dict[str, object]) -> Score:
    problem = Problem("secret", "code", "Say the word.", "", {"tests": tests})
    return task.score(problem, f"```python\n{program}\n```")


@pytest.mark.parametrize("name", [*STDIN_PROGRAMS, *FUNCTION_PROGRAMS])
def test_a_hostile_program_earns_nothing_in_bounded_time(task: CodeTask, name: str) -> None:
    is_function = name in FUNCTION_PROGRAMS
    program = FUNCTION_PROGRAMS[name] if is_function else STDIN_PROGRAMS[name]
    started = time.monotonic()
    score = grade(task, program, FUNCTION_TESTS if is_function else STDIN_TESTS)
    assert score.reward == 0.0
    assert time.monotonic() - started < SECONDS_PER_PROGRAM


@pytest.mark.parametrize("name", FINDABLE_WITHOUT_A_SANDBOX)
def test_the_attack_is_real_where_there_is_no_sandbox(task: CodeTask, name: str) -> None:
    open_sandbox = Sandbox(
        SandboxLimits(cpu_seconds=20.0, wall_seconds=30.0),
        allow_unsafe_subprocess_that_runs_model_code_unprotected=True,
    )
    unprotected_task = CodeTask("code", [], sandbox=open_sandbox)
    with pytest.warns(UserWarning, match="WITHOUT a sandbox"):
        score = grade(unprotected_task, STDIN_PROGRAMS[name], STDIN_TESTS)
    assert score == Score(1.0)


def test_afterwards_no_process_and_no_file_remains_and_honest_programs_pass(
    task: CodeTask,
) -> None:
    deadline = time.monotonic() + 5
    while (remaining := sandboxed_processes()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert remaining == []
    time.sleep(1.2)  # the daemon that writes later would have written
    for folder in ("/", "/tmp", "/var/tmp", "/etc", "/dev", "/usr/bin"):
        assert not Path(folder, "prorl-was-here").exists()
    assert Path("/usr/bin/env").exists()
    assert time.time() > 1e9
    assert socket.gethostname() != "prorl-was-here"
    program = f"print({ANSWER!r} if input() else 0)"
    assert grade(task, program, STDIN_TESTS) == Score(1.0)


def sandboxed_processes() -> list[str]:
    listing = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True)
    return [line for line in listing.stdout.splitlines() if "a2b_base64" in line]


def test_the_suite_holds_the_promised_number_of_attacks() -> None:
    assert len(STDIN_PROGRAMS) + len(FUNCTION_PROGRAMS) >= 30
