"""Run a program on the tests of a problem and count what it passes.

The program's sandbox is sent one input at a time; what is expected stays here.
Assertions run in a second sandbox, and only plain values pass between the two.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import cast

from prorl_nemo.tasks.base import Score
from prorl_nemo.tasks.code_comparison import output_matches, value_matches
from prorl_nemo.tasks.code_languages import Language
from prorl_nemo.tasks.code_tests import AssertionTests, CodeTests, FunctionTests, StdinTests
from prorl_nemo.tasks.sandbox import Sandbox, SandboxJob
from prorl_nemo.tasks.sandbox_session import Reply, SandboxSession, decode_value

Request = tuple[object, ...]


class ProgramStoppedError(Exception):
    """The program can't be graded further; the message is the Score's failure."""


def grade_program(program: str, tests: CodeTests, *, language: Language, sandbox: Sandbox) -> Score:
    """The fraction of ``tests`` that ``program`` passes; all of them are run.

    A list of assertions counts as one test. 0 for a program that does not compile; 0 with
    the failure "timeout" beyond the total time limit, with "killed" for one that brought
    its sandbox down. Raises SandboxError if there is no isolation.
    """
    job = SandboxJob(
        role="program",
        source=program,
        preamble=tests.preamble if isinstance(tests, FunctionTests) else "",
        file_name=language.file_name,
        compiler=language.compile,
        command=language.run,
    )
    session, reply = sandbox.start(job)
    with session:
        if reply.status == "compile_error":
            return Score(0.0)
        if reply.status != "ready":
            return Score(0.0, "timeout" if reply.status == "timeout" else "killed")
        session.deadline = time.monotonic() + sandbox.limits.wall_seconds
        runner = _ProgramRunner(session, cpu_seconds=sandbox.limits.cpu_seconds)
        try:
            if isinstance(tests, AssertionTests):
                verdicts = [_passes_assertions(runner, tests, sandbox)]
            else:
                verdicts = list(_run_tests(runner, tests))
        except ProgramStoppedError as stop:
            return Score(0.0, str(stop))
    return Score(sum(verdicts) / len(verdicts))


class _ProgramRunner:
    """Sends inputs to one program and adds up its processor time."""

    def __init__(self, session: SandboxSession, *, cpu_seconds: float) -> None:
        self.deadline = session.deadline
        self._session = session
        self._cpu_seconds_left = cpu_seconds

    def run(self, request: Request) -> Reply:
        """One fresh run; ProgramStoppedError once the time is used up or the process is gone."""
        reply = self._session.request(request)
        self._cpu_seconds_left -= reply.cpu_seconds
        if reply.status == "timeout" or self._cpu_seconds_left < 0:
            raise ProgramStoppedError("timeout")
        if reply.status not in ("ok", "failed"):
            raise ProgramStoppedError("killed")
        return reply


def _run_tests(runner: _ProgramRunner, tests: StdinTests | FunctionTests) -> Iterator[bool]:
    if isinstance(tests, StdinTests):
        for text, expected in zip(tests.inputs, tests.outputs, strict=True):
            reply = runner.run(("stdin", text.encode()))
            yield reply.status == "ok" and output_matches(reply.payload, expected)
        return
    for arguments, value in zip(tests.inputs, tests.outputs, strict=True):
        reply = runner.run(("call", tests.function_name, list(arguments), {}))
        yield _returns(reply, value)


def _returns(reply: Reply, expected: object) -> bool:
    try:
        return reply.status == "ok" and value_matches(decode_value(reply.payload), expected)
    except ValueError:  # the program wrote the reply itself, and not well
        return False


def _passes_assertions(runner: _ProgramRunner, tests: AssertionTests, sandbox: Sandbox) -> bool:
    """Carry calls and values between the assertions' sandbox and the program's."""
    job = SandboxJob(
        role="tests",
        source=tests.assertions,
        preamble=tests.preamble,
        entry_point=tests.entry_point,
    )
    session, reply = sandbox.start(job)
    is_called = False
    with session:
        session.deadline = runner.deadline
        while reply.status == "call":
            is_called = True
            call = cast("list[object]", decode_value(reply.payload))
            reply = session.request(_call(runner, tests.entry_point, call))
    if reply.status == "timeout":
        raise ProgramStoppedError("timeout")
    return is_called and reply.status == "passed"


def _call(runner: _ProgramRunner, function_name: str, call: list[object]) -> Request:
    """Run the call that an assertion asked for; what to answer the assertion."""
    reply = runner.run(("call", function_name, *call))
    try:
        return ("ok", decode_value(reply.payload)) if reply.status == "ok" else ("failed", None)
    except ValueError:
        return ("failed", None)
