"""Is there a sandbox on this machine, and does it hold? Asked before a run, not during it.

The probe does not trust versions or options: it runs a program that tries to break out
and reports what it managed to do.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass

from prorl_nemo.tasks.sandbox import Sandbox, SandboxJob
from prorl_nemo.tasks.sandbox_command import SandboxError

MIN_BUBBLEWRAP = (0, 8)
INSTALL = "install it (Debian, Ubuntu: apt-get install bubblewrap; RHEL: dnf install bubblewrap)"
NO_NAMESPACES = (
    "unprivileged user namespaces are not allowed here: on the host, set "
    "kernel.unprivileged_userns_clone=1 and, on Ubuntu 24.04 or later, "
    "kernel.apparmor_restrict_unprivileged_userns=0; in Docker, run with "
    "--security-opt seccomp=unconfined --security-opt apparmor=unconfined"
)
UNPROTECTED = "UNPROTECTED by request: model code runs as this user on this machine"

# Each line of the report is something that must not be possible inside.
BREAK_OUT = """
import errno, json, mmap, os, resource, socket, sys
secret, max_processes, memory_bytes = json.loads(input())

def works(action):
    try:
        action()
    except (OSError, MemoryError, ValueError, OverflowError):
        return False
    return True

def fork_beyond_the_limit():
    for _ in range(max_processes + 1):
        if os.fork() == 0:
            import time
            time.sleep(30)

def connect():
    socket.create_connection(("1.1.1.1", 53), timeout=1).close()

def unshare():
    import ctypes
    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000):
        raise OSError(ctypes.get_errno(), "unshare")

places = ("/", "/usr", "/dev", "/etc")
print(json.dumps({
    "reach the network": works(connect),
    "see the host's files": os.path.exists(secret),
    "write outside /tmp": any(works(lambda p=p: open(p + "/x", "w")) for p in places),
    "use more memory than allowed": works(lambda: mmap.mmap(-1, memory_bytes + 1)),
    "see other processes": os.getppid() > 3 or os.path.exists("/proc/1"),
    "make user namespaces": works(unshare),
    "start more processes than allowed": works(fork_beyond_the_limit),
}))
"""


@dataclass(frozen=True)
class SandboxStatus:
    """``is_usable``: model code may run; ``message``: one line, what is missing and its cure."""

    is_usable: bool
    message: str


@functools.lru_cache(maxsize=8)
def check_sandbox(sandbox: Sandbox | None = None) -> SandboxStatus:
    """Try the sandbox out, in about 0.2 s, once a process; never raises."""
    sandbox = sandbox or Sandbox()
    if sandbox.allow_unsafe_subprocess_that_runs_model_code_unprotected:
        return SandboxStatus(True, UNPROTECTED)
    if problem := _bubblewrap_problem():
        return SandboxStatus(False, f"no sandbox for model code: {problem}")
    try:
        session, reply = sandbox.start(SandboxJob("program", BREAK_OUT))
    except SandboxError as error:
        return SandboxStatus(False, f"no sandbox for model code: {_explain(str(error))}")
    limits = sandbox.limits
    with session, tempfile.NamedTemporaryFile(dir="/var/tmp") as secret:
        session.deadline = time.monotonic() + limits.wall_seconds
        question = [secret.name, limits.max_processes, limits.memory_bytes]
        if reply.status == "ready":
            reply = session.request(("stdin", json.dumps(question).encode()))
    if reply.status != "ok":
        return SandboxStatus(False, f"the sandbox can't run a program: it answers {reply.status!r}")
    return _judge(reply.payload)


def require_sandbox(sandbox: Sandbox | None = None) -> None:
    """Raise SandboxError, saying what to do, unless model code may run here."""
    status = check_sandbox(sandbox)
    if not status.is_usable:
        raise SandboxError(status.message)


def _judge(report: bytes) -> SandboxStatus:
    leaks = [name for name, is_possible in json.loads(report).items() if is_possible]
    if leaks:
        return SandboxStatus(False, f"the sandbox leaks, a program in it can {', '.join(leaks)}")
    return SandboxStatus(True, "bubblewrap holds: no network, no host files, limits in force")


def _bubblewrap_problem() -> str:
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        return f"bubblewrap is missing; {INSTALL}"
    shown = subprocess.run([bubblewrap, "--version"], capture_output=True, text=True, check=False)
    numbers = re.findall(r"\d+", shown.stdout)
    if tuple(map(int, numbers[:2])) < MIN_BUBBLEWRAP:
        return (
            f"{shown.stdout.strip() or 'this bwrap'} is too old, 0.8 or later is needed; {INSTALL}"
        )
    return ""


def _explain(error: str) -> str:
    if re.search(r"namespace|uid map|Operation not permitted", error):
        return f"{error}; {NO_NAMESPACES}"
    return error
