"""Run untrusted programs under bubblewrap: no network, no host files, hard limits.

A sandbox fails closed: if the isolation can't be set up, nothing runs. It isolates one
response from the machine and from every other response; the tests of one response share
a private /tmp. It is not a container manager: there is no cgroup, so the worst case of
memory is ``max_processes * memory_bytes`` for as long as a program may live.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from prorl_nemo.tasks.sandbox_command import (
    NOBODY,
    SANDBOX_ENVIRONMENT,
    SandboxError,
    bubblewrap_command,
    can_become_nobody,
    find_python,
    harness_command,
)
from prorl_nemo.tasks.sandbox_seccomp import seccomp_filter
from prorl_nemo.tasks.sandbox_session import Reply, SandboxSession

MAX_OPEN_FILES = 64
STACK_BYTES = 64 << 20
START_SECONDS = 20.0
START_ATTEMPTS = 3
START_PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class SandboxLimits:
    """What one response may use, over all its tests.

    ``cpu_seconds`` is the paper's total time limit; it counts processor time, so that a
    busy machine changes no reward. ``wall_seconds`` bounds programs that sleep.
    """

    cpu_seconds: float = 5.0
    wall_seconds: float = 15.0
    compile_seconds: float = 30.0
    memory_bytes: int = 1 << 30
    max_processes: int = 16
    max_output_bytes: int = 8 << 20
    tmp_bytes: int = 16 << 20

    def to_rlimits(self) -> dict[str, int]:
        return {
            "RLIMIT_AS": self.memory_bytes,
            "RLIMIT_NPROC": self.max_processes,
            "RLIMIT_FSIZE": self.max_output_bytes,
            "RLIMIT_NOFILE": MAX_OPEN_FILES,
            "RLIMIT_STACK": min(STACK_BYTES, self.memory_bytes),
            "RLIMIT_MSGQUEUE": 0,
            "RLIMIT_MEMLOCK": 0,
            "RLIMIT_CORE": 0,
        }


@dataclass(frozen=True)
class SandboxJob:
    """What a process is started for: to run a program, or a data set's own assertions.

    ``preamble`` is executed before ``source`` in the same namespace. ``entry_point`` is
    the function that assertions call. ``command`` runs a program of another language
    from ``file_name``, after ``compiler`` if there is one; empty for Python.
    """

    role: Literal["program", "tests"]
    source: str
    preamble: str = ""
    entry_point: str = ""
    file_name: str = ""
    compiler: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sandbox:
    """How to start sandboxed processes; picklable, holds no process.

    ``python`` runs the harness and Python programs: by default the one running now, or
    the system's where the sandbox user can't reach that. ``package_paths`` are folders
    the programs may import from (none by default), shown read-only.
    """

    limits: SandboxLimits = field(default_factory=SandboxLimits)
    python: str | None = None
    package_paths: tuple[str, ...] = ()
    allow_unsafe_subprocess_that_runs_model_code_unprotected: bool = False

    def start(self, job: SandboxJob) -> tuple[SandboxSession, Reply]:
        """Start a process for ``job``; return it with its first reply.

        Raises SandboxError when no isolated process can be had.
        """
        for attempt in range(START_ATTEMPTS):
            time.sleep(START_PAUSE_SECONDS * attempt)  # a machine short of memory may recover
            session, reason = self._start_process()
            if session is not None:
                session.deadline = time.monotonic() + self.limits.compile_seconds
                return session, session.request((self._message(job, session.nonce),))
        raise SandboxError(f"no sandboxed process could be started: {reason}")

    def _start_process(self) -> tuple[SandboxSession | None, str]:
        """Start a process and wait until its runner reports from inside."""
        python = os.path.realpath(self.python or find_python())
        command = harness_command(python)
        with seccomp_filter() as seccomp_fd:
            if self.allow_unsafe_subprocess_that_runs_model_code_unprotected:
                warnings.warn("model code runs on this machine WITHOUT a sandbox", stacklevel=3)
            else:
                command = [
                    *bubblewrap_command(
                        readonly_paths=(str(Path(python).parent.parent), *self.package_paths),
                        tmp_bytes=self.limits.tmp_bytes,
                        seccomp_fd=seccomp_fd,
                    ),
                    *command,
                ]
            try:
                process = _start(command, pass_fds=(seccomp_fd,))
            except OSError as error:  # no such program, or not for the sandbox user
                return None, str(error)
        session = SandboxSession(
            process,
            nonce=secrets.token_hex(8),
            max_reply_bytes=self.limits.max_output_bytes,
            deadline=time.monotonic() + START_SECONDS,
        )
        try:
            if session.read_line() == b"hello":
                return session, ""
            reason = "the runner didn't report"
        except TimeoutError:
            reason = f"no sign of life within {START_SECONDS:.0f} s"
        except (EOFError, ValueError):
            assert process.stderr is not None
            message = process.stderr.read(4096).decode(errors="replace").strip()
            reason = message.splitlines()[-1] if message else "it ended without a message"
        session.close()
        return None, reason

    def _message(self, job: SandboxJob, nonce: str) -> dict[str, object]:
        limits = self.limits.to_rlimits()
        if self.allow_unsafe_subprocess_that_runs_model_code_unprotected:
            del limits["RLIMIT_NPROC"]  # it would count all processes of this user
        return {
            "role": job.role,
            "source": job.source,
            "preamble": job.preamble,
            "entry_point": job.entry_point,
            "file_name": job.file_name,
            "compiler": list(job.compiler),
            "command": list(job.command),
            "nonce": nonce,
            "limits": limits,
            "cpu_seconds": self.limits.cpu_seconds,
            "package_paths": list(self.package_paths),
        }


def _start(command: list[str], *, pass_fds: tuple[int, ...]) -> subprocess.Popen[bytes]:
    user = NOBODY if can_become_nobody() else None
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/tmp",
        env=SANDBOX_ENVIRONMENT,
        pass_fds=pass_fds,
        start_new_session=True,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
