"""The processes that score: a single-threaded server that loads the tasks and forks workers.

Run as ``python -m prorl_nemo.tasks.reward_worker FD``. The server holds no accelerator
library and starts no thread, so forking it is safe, and a worker that had to be killed
is replaced in milliseconds, with every verifier imported already.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import pickle
import resource
import signal
import socket
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection

from prorl_nemo.tasks.base import LoadsVerifier, Problem, Score, Task
from prorl_nemo.tasks.sandbox_command import SandboxError

PR_SET_PDEATHSIG = 1
READY = b"ready"
START, KILL = b"start", b"kill "


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    with Connection(os.dup(control.fileno())) as setup:
        tasks_pickle, memory_bytes = pickle.loads(setup.recv_bytes())
        try:
            tasks: Mapping[str, Task] = pickle.loads(tasks_pickle)
            for task in tasks.values():
                if isinstance(task, LoadsVerifier):
                    task.load_verifier()
        except Exception as error:  # reported to the pool, which raises it to the user
            setup.send_bytes(f"{type(error).__name__}: {error}".encode())
            return
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        setup.send_bytes(READY)
    _fork_on_request(control, tasks)


def _fork_on_request(control: socket.socket, tasks: Mapping[str, Task]) -> None:
    """Start and kill workers as told, until the pool closes its end."""
    libc = ctypes.CDLL(None)
    server_pid = os.getpid()
    workers: set[int] = set()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 64, 1)
        if not message:
            return
        if message.startswith(KILL):
            pid = int(message.removeprefix(KILL))
            if pid in workers:  # dead or not, it is unreaped, so the id is its own
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                workers.remove(pid)
            control.sendall(READY)
            continue
        pid = os.fork()
        if pid == 0:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == server_pid:
                control.close()
                _serve(Connection(descriptors[0]), tasks)
            os._exit(0)
        workers.add(pid)
        os.close(descriptors[0])
        control.sendall(str(pid).encode())


def _serve(connection: Connection, tasks: Mapping[str, Task]) -> None:
    while True:
        try:
            problem, response = pickle.loads(connection.recv_bytes())
        except EOFError:
            return
        try:
            score = score_safely(tasks[problem.task], problem, response)
            reply = {"reward": score.reward, "failure": score.failure}
        except SandboxError as error:
            reply = {"sandbox_error": str(error)}
        connection.send_bytes(json.dumps(reply).encode())


def score_safely(task: Task, problem: Problem, response: str) -> Score:
    """``task.score``, with any error a 0 that names itself "verifier_error".

    Only a broken sandbox is passed on: a 0 would blame the model for the machine.
    """
    try:
        score = task.score(problem, response)
    except (SandboxError, KeyboardInterrupt):
        raise
    except BaseException:  # verifiers raise their own BaseExceptions to cross except clauses
        return Score(0.0, "verifier_error")
    if not (math.isfinite(score.reward) and 0.0 <= score.reward <= 1.0):
        return Score(0.0, "reward_out_of_range")
    return score


if __name__ == "__main__":
    main()
