"""One sandboxed process seen from outside: requests go in, replies come out, in bounded time.

Nothing that comes out is trusted: replies are framed by a secret, capped in size and
decoded without evaluating anything. Every read and write has a deadline, so a process
that stops, floods or lies costs at most its time limit.
"""

from __future__ import annotations

import json
import marshal
import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

CHUNK_BYTES = 1 << 16
MAX_HEADER_BYTES = 256

ReplyStatus = Literal["ready", "compile_error", "ok", "failed", "call", "passed", "timeout", "dead"]
SENT_STATUSES = frozenset(("ready", "compile_error", "ok", "failed", "call", "passed"))


@dataclass(frozen=True)
class Reply:
    """What came back for one request.

    "timeout" (the deadline passed) and "dead" (the process ended or broke the protocol)
    are this side's own verdicts; the others were sent. ``cpu_seconds`` is the time the
    request took inside, as far as the sandbox can tell.
    """

    status: ReplyStatus
    payload: bytes = b""
    cpu_seconds: float = 0.0


class SandboxSession:
    """Talk to a started process until ``close``, which ends it and all that it started.

    ``deadline`` is a time.monotonic() instant and may be moved by the caller.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        *,
        nonce: str,
        max_reply_bytes: int,
        deadline: float,
    ) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.deadline = deadline
        self._stdin_fd = process.stdin.fileno()
        self._stdout_fd = process.stdout.fileno()
        self.nonce = nonce
        self._max_reply_bytes = max_reply_bytes
        self._buffer = bytearray()
        os.set_blocking(self._stdin_fd, False)
        os.set_blocking(self._stdout_fd, False)

    def __enter__(self) -> SandboxSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def request(self, message: tuple[object, ...]) -> Reply:
        """Send one request and wait for its reply."""
        body = marshal.dumps(message, 2)  # type: ignore[arg-type]  # built-in types only
        try:
            self._send(len(body).to_bytes(8, "big") + body)
            return self._receive()
        except TimeoutError:
            return Reply("timeout")
        except (OSError, EOFError, ValueError):
            return Reply("dead")

    def read_line(self) -> bytes:
        """Return one line without its end; TimeoutError, EOFError or ValueError instead."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > MAX_HEADER_BYTES:
                raise ValueError("no end of line")
            self._fill()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def close(self) -> None:
        """Kill the process and wait for it; the kernel takes its whole PID namespace along."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def _receive(self) -> Reply:
        nonce, status, microseconds, length = self.read_line().split(b" ")
        name = status.decode("ascii")
        if nonce.decode() != self.nonce or name not in SENT_STATUSES:
            raise ValueError("a reply that the runner didn't write")
        num_bytes, cpu_seconds = int(length), int(microseconds) / 1e6
        if not 0 <= num_bytes <= self._max_reply_bytes or cpu_seconds < 0:
            raise ValueError("numbers that the runner can't have written")
        while len(self._buffer) < num_bytes:
            self._fill()
        payload = bytes(self._buffer[:num_bytes])
        del self._buffer[:num_bytes]
        return Reply(name, payload, cpu_seconds)  # type: ignore[arg-type]

    def _fill(self) -> None:
        self._wait(self._stdout_fd, select.POLLIN)
        chunk = os.read(self._stdout_fd, CHUNK_BYTES)
        if not chunk:
            raise EOFError
        self._buffer += chunk

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            self._wait(self._stdin_fd, select.POLLOUT)
            view = view[os.write(self._stdin_fd, view[:CHUNK_BYTES]) :]

    def _wait(self, descriptor: int, event: int) -> None:
        poller = select.poll()
        poller.register(descriptor, event)
        if not poller.poll(max(0.0, self.deadline - time.monotonic()) * 1e3):
            raise TimeoutError


def decode_value(payload: bytes) -> object:
    """Rebuild a value of exact built-in types from the runner's tagged JSON.

    ValueError for anything malformed, however it is malformed.
    """
    try:
        return _decode(json.loads(payload))
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise ValueError("not a value that the runner writes") from error


def _decode(data: object) -> object:
    if data is None or isinstance(data, bool | int | str):
        return data
    if not isinstance(data, list):
        raise ValueError("an untagged value")
    tag, *items = data
    if tag == "int":
        return int(items[0], 16)
    if tag == "float":
        return float(items[0])
    if tag == "bytes":
        return bytes.fromhex(items[0])
    if tag == "complex":
        return complex(float(items[0]), float(items[1]))
    values = [_decode(item) for item in items]
    if tag == "list":
        return values
    if tag == "dict":
        return dict(zip(values[::2], values[1::2], strict=True))
    containers = {"tuple": tuple, "set": set, "frozenset": frozenset}
    return containers[tag](values)
