"""The pool's end of the worker processes: start them, ask them, kill them."""

from __future__ import annotations

import os
import pickle
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TypeVar

from prorl_nemo.tasks.base import Task
from prorl_nemo.tasks.reward_worker import KILL, READY, START

START_SECONDS = 120.0
MAX_ATTEMPTS = 3
MAX_REPLY_BYTES = 1 << 16

Result = TypeVar("Result")


class RewardPoolError(RuntimeError):
    """The workers can't be started: nothing can be scored, so the run must stop."""


@dataclass(frozen=True)
class Worker:
    """One process that scores one response at a time."""

    pid: int
    connection: Connection

    def ask(self, request: bytes, *, timeout_seconds: float) -> bytes:
        """Send a request and return the reply.

        TimeoutError when it is late, EOFError or OSError when the process has died.
        """
        try:
            self.connection.send_bytes(request)
            if not self.connection.poll(timeout_seconds):
                raise TimeoutError
            return self.connection.recv_bytes(MAX_REPLY_BYTES)
        except BlockingIOError as error:  # the socket's own time limit
            raise TimeoutError from error


class WorkerLauncher:
    """Starts and kills workers through one server process; safe to call from any thread.

    ``tasks`` are pickled once. The server is started when first needed and again if it
    was killed.
    """

    def __init__(
        self, tasks: Mapping[str, Task], *, timeout_seconds: float, memory_bytes: int
    ) -> None:
        self._setup = pickle.dumps((pickle.dumps(dict(tasks)), memory_bytes))
        self._time_limit = struct.pack("ll", int(timeout_seconds) + 1, 0)
        self._lock = threading.Lock()
        self._is_closed = False
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start_server(self) -> None:
        """Load the tasks where they will be scored; RewardPoolError if that fails."""
        with self._lock:
            self._call_server(lambda control: None)

    def start_worker(self) -> Worker:
        """RewardPoolError, with the reason, if no worker can be started."""
        ours, theirs = socket.socketpair()
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            ours.setsockopt(socket.SOL_SOCKET, option, self._time_limit)

        def request_worker(control: socket.socket) -> int:
            socket.send_fds(control, [START], [theirs.fileno()])
            return int(control.recv(64))  # b"", a ValueError, from a dead server

        with theirs, self._lock:
            pid = self._call_server(request_worker)
        return Worker(pid, Connection(ours.detach()))

    def kill_worker(self, worker: Worker) -> None:
        """End ``worker``, stuck, dead or well, and wait until it is gone."""
        worker.connection.close()
        with self._lock:
            if self._control is None:
                return
            try:
                self._control.sendall(KILL + str(worker.pid).encode())
                self._control.recv(64)
            except OSError:  # the server has died, and its workers with it
                self._stop_server()

    def close(self) -> None:
        """End the server and every worker."""
        with self._lock:
            self._is_closed = True
            self._stop_server()

    def _call_server(self, request: Callable[[socket.socket], Result]) -> Result:
        """Make a request, of a new server if the old one died, be it under our hands."""
        for _ in range(MAX_ATTEMPTS):
            if self._is_closed:
                raise RewardPoolError("the reward pool is closed")
            try:
                if self._control is None or self._server is None or self._server.poll() is not None:
                    self._stop_server()
                    self._control = self._start_server()
                return request(self._control)
            except (OSError, EOFError, ValueError):
                self._stop_server()
        raise RewardPoolError(
            "the server of the reward workers dies again and again; its error output says why"
        )

    def _start_server(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "prorl_nemo.tasks.reward_worker", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=2,  # what verifiers print goes to the error output
                env=_server_environment(),
            )
        with Connection(os.dup(ours.fileno())) as setup:
            setup.send_bytes(self._setup)
            answer = setup.recv_bytes() if setup.poll(START_SECONDS) else b"no answer in time"
        if answer != READY:
            raise RewardPoolError(f"the reward workers can't start: {answer.decode()}")
        return ours

    def _stop_server(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._server is not None:
            self._server.kill()
            self._server.wait()
        self._server = self._control = None


class WorkerSlot:
    """One worker at a time, replaced when it is late or has died. For one thread only."""

    def __init__(self, launcher: WorkerLauncher, on_restart: Callable[[], None]) -> None:
        self._launcher = launcher
        self._on_restart = on_restart
        self._worker: Worker | None = None

    def ask(self, request: bytes, *, timeout_seconds: float) -> bytes:
        """The reply, from another worker if one dies.

        TimeoutError when a worker is late, ChildProcessError when MAX_ATTEMPTS have died.
        """
        for _ in range(MAX_ATTEMPTS):
            worker = self._worker = self._worker or self._launcher.start_worker()
            try:
                return worker.ask(request, timeout_seconds=timeout_seconds)
            except TimeoutError:
                self._discard(worker)
                raise
            except (EOFError, OSError):
                self._discard(worker)
        raise ChildProcessError(f"{MAX_ATTEMPTS} workers died of one response")

    def _discard(self, worker: Worker) -> None:
        self._worker = None
        self._on_restart()
        self._launcher.kill_worker(worker)


def _server_environment() -> dict[str, str]:
    """One thread a worker, the same import path, and a fixed order of sets in verifiers."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
