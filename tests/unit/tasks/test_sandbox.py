import os
import pickle
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prorl_nemo.tasks import sandbox_command
from prorl_nemo.tasks.code import CodeTask
from prorl_nemo.tasks.sandbox import Sandbox, SandboxJob, SandboxLimits
from prorl_nemo.tasks.sandbox_command import SandboxError, find_python
from prorl_nemo.tasks.sandbox_probe import check_sandbox, require_sandbox
from prorl_nemo.tasks.sandbox_session import Reply

STATUS = check_sandbox()
needs_sandbox = pytest.mark.skipif(not STATUS.is_usable, reason=STATUS.message)


@pytest.fixture
def readable_folder() -> Iterator[Path]:
    """A folder that the sandbox user may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def path_with_only(readable_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A PATH that holds nothing but what the test puts into this folder."""
    monkeypatch.setenv("PATH", str(readable_folder))
    check_sandbox.cache_clear()
    yield readable_folder
    check_sandbox.cache_clear()


def write_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_missing_bubblewrap_stops_everything_and_says_how_to_install_it(
    path_with_only: Path,
) -> None:
    status = check_sandbox()
    assert not status.is_usable
    assert "apt-get install bubblewrap" in status.message
    assert "\n" not in status.message
    with pytest.raises(SandboxError, match="bubblewrap is missing"):
        require_sandbox()
    with pytest.raises(SandboxError, match="bubblewrap is missing"):
        CodeTask("code", [])
    with pytest.raises(SandboxError, match="bubblewrap is not installed"):
        Sandbox().start(SandboxJob("program", "print(1)"))


def test_an_old_bubblewrap_is_refused(path_with_only: Path) -> None:
    write_program(path_with_only / "bwrap", "echo bubblewrap 0.6.1")
    assert "bubblewrap 0.6.1 is too old, 0.8 or later" in check_sandbox().message


def test_forbidden_namespaces_are_explained(path_with_only: Path) -> None:
    write_program(
        path_with_only / "bwrap",
        'if [ "$1" = --version ]; then echo bubblewrap 0.8.0; exit; fi\n'
        "echo 'bwrap: No permissions to create new namespace' >&2; exit 1",
    )
    message = check_sandbox().message
    assert "No permissions to create new namespace" in message
    assert "kernel.apparmor_restrict_unprivileged_userns=0" in message


def test_a_bubblewrap_that_isolates_nothing_is_found_out(path_with_only: Path) -> None:
    # Runs what follows "--" without any isolation, as a broken installation would.
    write_program(
        path_with_only / "bwrap",
        'if [ "$1" = --version ]; then echo bubblewrap 0.8.0; exit; fi\n'
        'while [ "$1" != -- ]; do shift; done; shift; exec "$@"',
    )
    status = check_sandbox()
    assert not status.is_usable
    # Other programs of the same user may use up the process limit, which then counts them too.
    assert "see the host's files, " in status.message or "can't run a program" in status.message


@needs_sandbox
def test_the_sandbox_of_this_machine_holds() -> None:
    assert STATUS.message == "bubblewrap holds: no network, no host files, limits in force"


def test_the_unsafe_switch_is_honoured_and_loud() -> None:
    sandbox = Sandbox(allow_unsafe_subprocess_that_runs_model_code_unprotected=True)
    assert check_sandbox(sandbox).message.startswith("UNPROTECTED")
    with pytest.warns(UserWarning, match="WITHOUT a sandbox"):
        session, reply = sandbox.start(SandboxJob("program", "print(6 * 7)"))
    with session:
        session.deadline = time.monotonic() + 10
        assert reply.status == "ready"
        assert session.request(("stdin", b"")).payload == b"42\n"


@needs_sandbox
def test_a_program_sees_its_own_small_world() -> None:
    program = (
        "import os\n"
        "print(sorted(os.listdir('/')), sorted(os.listdir('/dev')), os.listdir('/tmp'))\n"
        "print(os.getuid() != 0, os.getcwd(), sorted(os.environ))\n"
    )
    session, _ = Sandbox().start(SandboxJob("program", program))
    with session:
        session.deadline = time.monotonic() + 10
        lines = session.request(("stdin", b"")).payload.decode().splitlines()
    assert "work" not in lines[0]
    assert "'null', 'random', 'urandom', 'zero'] []" in lines[0]
    assert lines[1].startswith("True /tmp ['HOME', 'LC_CTYPE', 'OMP_NUM_THREADS'")


@needs_sandbox
@pytest.mark.parametrize(
    ("last_line", "reply"),
    [("print(gift.value)", Reply("ok", b"7\n")), ("open(gift.__file__, 'w')", Reply("failed"))],
)
def test_package_paths_are_importable_and_read_only(
    readable_folder: Path, last_line: str, reply: Reply
) -> None:
    (readable_folder / "gift.py").write_text("value = 7")
    sandbox = Sandbox(package_paths=(str(readable_folder),))
    session, _ = sandbox.start(SandboxJob("program", f"import gift\n{last_line}"))
    with session:
        session.deadline = time.monotonic() + 10
        answer = session.request(("stdin", b""))
    assert (answer.status, answer.payload) == (reply.status, reply.payload)


@needs_sandbox
def test_an_interpreter_nobody_can_reach_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_command, "SYSTEM_PYTHON", "/nowhere/python3")
    monkeypatch.setattr(sandbox_command.sys, "executable", "/proc/self/mem")
    if os.geteuid() == 0:
        find_python.cache_clear()
        with pytest.raises(SandboxError, match="the sandbox user can't reach"):
            find_python()


def test_a_sandbox_can_be_sent_to_a_worker() -> None:
    sandbox = Sandbox(SandboxLimits(cpu_seconds=2.0), package_paths=("/opt/x",))
    assert pickle.loads(pickle.dumps(sandbox)) == sandbox


def test_an_interpreter_that_can_not_run_is_an_error() -> None:
    with pytest.raises(SandboxError, match="/usr/bin/false can't run the harness"):
        sandbox_command.compiled_runner("/usr/bin/false")


def test_the_interpreter_is_one_the_sandbox_user_can_reach() -> None:
    python = Path(find_python())
    if os.geteuid() == 0:
        assert all(folder.stat().st_mode & 0o001 for folder in python.parents)
    shown = subprocess.run([python, "-c", "print(1)"], capture_output=True, text=True)
    assert shown.stdout == "1\n"
