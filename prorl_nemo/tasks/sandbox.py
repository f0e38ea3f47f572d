"""Run untrusted programs under bubblewrap: no network, no host files, hard limits.

A sandbox fails closed: if the isolation can't be set up, nothing runs. It isolates one
response from the machine and from every other response; the tests of one response share
a private /tmp. It is not a container manager: there is no cgroup, so the worst case of
memory is ``max_processes * memory_bytes`` for as long as a program may live.
"""

from __future__ import annotations

import base64
import functools
import os
import secrets
import shutil
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from prorl_nemo.tasks.sandbox_session import Reply, SandboxSession

NOBODY = 65534
MAX_OPEN_FILES = 64
STACK_BYTES = 64 << 20
START_SECONDS = 20.0
START_ATTEMPTS = 3
START_PAUSE_SECONDS = 0.5
SANDBOX_PATH = "/usr/local/bin:/usr/bin:/bin"
PYTHON_FLAGS = ("-S", "-s", "-B", "-X", "utf8")
DEVICES = ("null", "zero", "random", "urandom")
SYSTEM_PYTHON = "/usr/bin/python3"
COMPILE_RUNNER = (
    "import marshal,sys;"
    "code=compile(sys.stdin.buffer.read(),'sandbox_runner','exec',dont_inherit=True,optimize=2);"
    "sys.stdout.buffer.write(marshal.dumps(code))"
)
RUN_RUNNER = (
    "import binascii,marshal,sys;"
    "exec(marshal.loads(binascii.a2b_base64(sys.argv.pop())),{'__name__':'__main__'})"
)


class SandboxError(RuntimeError):
    """The isolation itself failed, whatever the program: the run must stop, not score 0."""


@dataclass(frozen=True)
class SandboxLimits:
    """What one response may use, over all its tests.

    ``cpu_seconds`` is the paper's total time limit; it counts processor time, so that a
    busy machine changes no reward. ``wall_seconds`` bounds programs that sleep.
    """

    cpu_seconds: float = 5.0
    wall_seconds: float = 10.0
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

    def command(self) -> list[str]:
        """The command line of one process, without its input."""
        python = os.path.realpath(self.python or find_python())
        harness = [python, *PYTHON_FLAGS, "-c", RUN_RUNNER, compiled_runner(python)]
        if self.allow_unsafe_subprocess_that_runs_model_code_unprotected:
            warnings.warn("model code runs on this machine WITHOUT a sandbox", stacklevel=2)
            return harness
        paths = (str(Path(python).parent.parent), *self.package_paths)
        return [*bubblewrap_command(readonly_paths=paths, limits=self.limits), *harness]

    def _start_process(self) -> tuple[SandboxSession | None, str]:
        """Start a process and wait until its runner reports from inside."""
        is_root = can_become_nobody()
        process = subprocess.Popen(
            self.command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/tmp",
            env={"PYTHONHASHSEED": "0", "PATH": SANDBOX_PATH},
            start_new_session=True,
            user=NOBODY if is_root else None,
            group=NOBODY if is_root else None,
            extra_groups=[] if is_root else None,
        )
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
        return {
            "role": job.role,
            "source": job.source,
            "preamble": job.preamble,
            "entry_point": job.entry_point,
            "file_name": job.file_name,
            "compiler": list(job.compiler),
            "command": list(job.command),
            "nonce": nonce,
            "limits": self.limits.to_rlimits(),
            "cpu_seconds": self.limits.cpu_seconds,
            "package_paths": list(self.package_paths),
        }


def bubblewrap_command(*, readonly_paths: tuple[str, ...], limits: SandboxLimits) -> list[str]:
    """bubblewrap's options: new namespaces of every kind, /usr read-only, a small /tmp.

    No /proc is mounted: programs need none, and a container that masks its own /proc
    allows no new one.
    """
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        raise SandboxError("bubblewrap is not installed")
    command = [bubblewrap, "--unshare-all", "--unshare-user", "--disable-userns"]
    command += ["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"]
    for name, value in (("PATH", SANDBOX_PATH), ("PYTHONHASHSEED", "0"), ("HOME", "/tmp")):
        command += ["--setenv", name, value]
    command += ["--setenv", "OMP_NUM_THREADS", "1", "--setenv", "OPENBLAS_NUM_THREADS", "1"]
    command += ["--ro-bind", "/usr", "/usr", "--dir", "/dev"]
    for path in ("/bin", "/sbin", "/lib", "/lib64"):
        if os.path.islink(path):
            command += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            command += ["--ro-bind", path, path]
    for path in ("/etc/ld.so.cache", "/etc/alternatives"):
        command += ["--ro-bind-try", path, path]
    for path in readonly_paths:
        if path != "/" and not Path(path).is_relative_to("/usr"):
            command += ["--ro-bind", path, path]
    for device in DEVICES:
        command += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    command += ["--size", str(limits.tmp_bytes), "--perms", "1777", "--tmpfs", "/tmp"]
    return [*command, "--chdir", "/tmp", "--remount-ro", "/", "--"]


@functools.lru_cache(maxsize=8)
def compiled_runner(python: str) -> str:
    """The runner as byte code of ``python`` in base64: compiling it anew costs 4 ms a start."""
    source = Path(__file__).with_name("sandbox_runner.py").read_bytes()
    command = [python, *PYTHON_FLAGS, "-c", COMPILE_RUNNER]
    compiled = subprocess.run(command, input=source, capture_output=True, check=False)
    if compiled.returncode != 0:
        raise SandboxError(f"{python} can't run the harness: {compiled.stderr.decode()[-200:]}")
    return base64.b64encode(compiled.stdout).decode()


@functools.lru_cache(maxsize=1)
def can_become_nobody() -> bool:
    """True for real root, which process limits don't bind; root of a one-user namespace isn't."""
    if os.geteuid() != 0:
        return False
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = (int(number) for number in line.split())
        if first <= NOBODY < first + count:
            return True
    return False


def find_python() -> str:
    """This interpreter, or the system's if the sandbox user may not reach this one."""
    own = Path(os.path.realpath(sys.executable))
    if not can_become_nobody() or all(path.stat().st_mode & 0o001 for path in (own, *own.parents)):
        return str(own)
    if not os.path.exists(SYSTEM_PYTHON):
        raise SandboxError(
            f"the sandbox user can't reach {own}, and there is no {SYSTEM_PYTHON}: "
            "install python3, or name a readable interpreter"
        )
    return SYSTEM_PYTHON
