"""The program that serves inside the sandbox; the package reads its source, never imports it.

It runs model code, one fresh forked process per test, and reports raw results. It knows
the inputs and nothing else: what a test expects stays in the parent, which alone
decides. So a hostile program that takes this process over gains no reward by it. Only
modules that start in microseconds are imported (no typing, json, signal, subprocess).

Requests come as an 8-byte length and a marshalled tuple. Replies go out as the line
``nonce status cpu_microseconds length`` followed by ``length`` bytes.
"""

from __future__ import annotations

import builtins
import marshal
import os
import resource
import sys
from _json import encode_basestring_ascii

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing takes longer than a trivial program
    from collections.abc import Callable
    from typing import Any, NoReturn

RESULT_FD = 3
SMALL_INT = 1 << 63


class Channel:
    """The two pipes to the parent, moved away from descriptors 0 and 1."""

    def __init__(self) -> None:
        self.requests = os.fdopen(os.dup(0), "rb")
        self.replies = os.dup(1)
        self.nonce = ""
        write_all(self.replies, b"hello\n")
        null = os.open("/dev/null", os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)

    def receive(self) -> tuple[Any, ...]:
        """Return the next request; end the process when the parent has gone."""
        header = self.requests.read(8)
        if len(header) < 8:
            os._exit(0)
        body = self.requests.read(int.from_bytes(header, "big"))
        return marshal.loads(body)  # type: ignore[no-any-return]

    def reply(self, status: str, payload: bytes = b"", cpu_seconds: float = 0.0) -> None:
        header = f"{self.nonce} {status} {int(cpu_seconds * 1e6)} {len(payload)}\n"
        write_all(self.replies, header.encode() + payload)


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def encode(value: Any) -> str:
    """Write an exact built-in value as tagged JSON; a subclass or any other type raises."""
    kind = type(value)
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return repr(value) if -SMALL_INT < value < SMALL_INT else f'["int","{value:x}"]'
    if kind is float:
        return f'["float","{value!r}"]'
    if kind is str:
        return str(encode_basestring_ascii(value))
    if kind is bytes:
        return f'["bytes","{value.hex()}"]'
    if kind is complex:
        return f'["complex","{value.real!r}","{value.imag!r}"]'
    if kind is dict:
        value = [item for pair in value.items() for item in pair]
    elif kind not in (list, tuple, set, frozenset):
        raise TypeError(f"a result of type {kind.__name__} can't leave the sandbox")
    items = "".join("," + encode(item) for item in value)
    return f'["{kind.__name__}"{items}]'


def run_forked(
    action: Callable[[], NoReturn], *, stdin: bytes, output_fd: int, cpu_seconds: float | None
) -> tuple[bool, float, bytes]:
    """Run ``action`` in a new process: (exited with 0, CPU seconds, bytes written).

    An exception in it ends that process: nothing on the way up catches any.
    ``output_fd`` is the child's descriptor that is read back: 1 or RESULT_FD.
    """
    source, output = os.memfd_create("stdin"), os.memfd_create("output")
    write_all(source, stdin)
    os.lseek(source, 0, os.SEEK_SET)
    pid = os.fork()
    if pid == 0:
        os.dup2(source, 0)
        os.dup2(output, output_fd)
        os.closerange(max(RESULT_FD, output_fd + 1), 1024)
        if cpu_seconds is not None:
            # Well above what is left: the kernel's two clocks differ by some milliseconds.
            resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_seconds + 0.5) + 1,) * 2)
        action()
    _, wait_status, usage = os.wait4(pid, 0)
    kill_every_other_process()
    data = os.pread(output, os.fstat(output).st_size, 0)
    os.close(source)
    os.close(output)
    return wait_status == 0, usage.ru_utime + usage.ru_stime, data


def kill_every_other_process() -> None:
    """End what a program left behind, where the PID namespace is ours alone."""
    if os.getppid() != 1 or os.getpid() > 3:
        return
    try:
        os.kill(-1, 9)
    except ProcessLookupError:  # there is none, as a rule
        return


class PythonProgram:
    """Python source, compiled once, executed afresh in every forked process."""

    def __init__(self, job: dict[str, Any]) -> None:
        texts = (job["preamble"], job["source"])
        self.code = [compile(text, "main.py", "exec", dont_inherit=True) for text in texts]

    def run(self, name: str) -> dict[str, Any]:
        module = type(sys)(name)
        sys.modules[name] = module
        sys.argv = ["main.py"]
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        for code in self.code:
            exec(code, module.__dict__)
        return module.__dict__

    def main(self) -> NoReturn:
        """Run as a script; then what an interpreter does at its exit, but 5 ms faster."""
        self.run("__main__")
        if threading := sys.modules.get("threading"):
            threading._shutdown()
        if atexit := sys.modules.get("atexit"):
            atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(0)

    def call(self, mark: str, function: str, arguments: list[Any], named: Any) -> NoReturn:
        """Call a function, or a method of class Solution, and write its value after ``mark``."""
        namespace = self.run("solution")
        if function not in namespace and "Solution" in namespace:
            target = getattr(namespace["Solution"](), function)
        else:
            target = namespace[function]
        text = encode(target(*arguments, **named))
        write_all(RESULT_FD, f"{mark}{text}\n".encode())
        os._exit(0)


class CommandProgram:
    """A program of another language: written to a file, compiled if need be, executed."""

    def __init__(self, job: dict[str, Any]) -> None:
        with open(job["file_name"], "w", encoding="utf-8") as file:
            file.write(job["source"])
        self.command = job["compiler"]
        if self.command and not run_forked(self.main, stdin=b"", output_fd=1, cpu_seconds=None)[0]:
            raise SyntaxError("the compiler rejected the program")
        self.command = job["command"]

    def main(self) -> NoReturn:
        os.execvp(self.command[0], self.command)

    def call(self, mark: str, function: str, arguments: list[Any], named: Any) -> NoReturn:
        raise TypeError("only Python programs can be called by function")


def serve_program(channel: Channel, job: dict[str, Any]) -> NoReturn:
    """Compile once, then run each request in a process of its own."""
    try:
        program = CommandProgram(job) if job["command"] else PythonProgram(job)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        channel.reply("compile_error")
        os._exit(0)
    channel.reply("ready")
    cpu_left: float = job["cpu_seconds"]
    while True:
        passed, seconds, data = run_request(program, channel.receive(), cpu_left)
        cpu_left -= seconds
        channel.reply("ok" if passed else "failed", data if passed else b"", seconds)


def run_request(
    program: PythonProgram | CommandProgram, request: tuple[Any, ...], cpu_left: float
) -> tuple[bool, float, bytes]:
    """Run once; of a call only a single line that carries a fresh mark counts as a value."""
    kind, *content = request
    if kind == "stdin":
        return run_forked(program.main, stdin=content[0], output_fd=1, cpu_seconds=cpu_left)
    mark = os.urandom(8).hex()
    exited, seconds, data = run_forked(
        lambda: program.call(mark, *content), stdin=b"", output_fd=RESULT_FD, cpu_seconds=cpu_left
    )
    is_value = data.startswith(mark.encode()) and data.find(b"\n") == len(data) - 1
    return exited and is_value, seconds, data[len(mark) :]


def serve_tests(channel: Channel, job: dict[str, Any]) -> NoReturn:
    """Run a data set's own assertions; the function under test lives in another sandbox.

    An assertion that fails ends the process, and with it the hope of a "passed".
    """

    def call_program(*arguments: object, **named: object) -> object:
        channel.reply("call", encode([list(arguments), named]).encode())
        status, value = channel.receive()
        if status != "ok":
            raise RuntimeError("the program under test failed")
        return value

    namespace: dict[str, Any] = {"__name__": "tests"}
    exec(compile(job["preamble"], "preamble.py", "exec", dont_inherit=True), namespace)
    namespace[job["entry_point"]] = call_program
    exec(compile(job["source"], "tests.py", "exec", dont_inherit=True), namespace)
    channel.reply("passed")
    os._exit(0)


def main() -> None:
    builtins.exit = builtins.quit = sys.exit  # type: ignore[assignment]  # as `site` would
    channel = Channel()
    (job,) = channel.receive()
    channel.nonce = job["nonce"]
    for name, value in job["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    sys.path.extend(job["package_paths"])
    if job["role"] == "tests":
        serve_tests(channel, job)
    serve_program(channel, job)


if __name__ == "__main__":
    main()
