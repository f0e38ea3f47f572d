"""The command line of a sandboxed process: bubblewrap's options and the interpreter inside."""

from __future__ import annotations

import base64
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

NOBODY = 65534
DEVICES = ("null", "zero", "random", "urandom")
SANDBOX_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
SYSTEM_PYTHON = "/usr/bin/python3"
PYTHON_FLAGS = ("-S", "-s", "-B", "-X", "utf8")
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


def harness_command(python: str) -> list[str]:
    """Run the harness with ``python``, a path with its links resolved."""
    return [python, *PYTHON_FLAGS, "-c", RUN_RUNNER, compiled_runner(python)]


def bubblewrap_command(
    *, readonly_paths: tuple[str, ...], tmp_bytes: int, seccomp_fd: int
) -> list[str]:
    """bubblewrap's options: new namespaces of every kind, /usr read-only, a small /tmp.

    No /proc is mounted: programs need none, and a container that masks its own /proc
    allows no new one. ``seccomp_fd`` is an open descriptor with the filter.
    """
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        raise SandboxError("bubblewrap is not installed")
    command = [bubblewrap, "--unshare-all", "--unshare-user", "--disable-userns"]
    command += ["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"]
    command += ["--seccomp", str(seccomp_fd)]
    for name, value in SANDBOX_ENVIRONMENT.items():
        command += ["--setenv", name, value]
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
    command += ["--size", str(tmp_bytes), "--perms", "1777", "--tmpfs", "/tmp"]
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


@functools.lru_cache(maxsize=1)
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
