"""`math_equality.answers_agree` under a time limit that holds in any thread.

On the main thread of a process an alarm interrupts the verifier. Off the main thread Python
delivers no signals, so the pair is sent to a child process that is killed when it is late.
An alarm can't interrupt a single long call into C: the reward pool, whose workers call this
on their main thread, kills the worker then.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from types import FrameType
from typing import IO

from prorl_nemo.tasks.math_equality import compare_exactly, compare_symbolically
from prorl_nemo.tasks.symbolic_equality import load_verifier

CHILD_START_SECONDS = 60.0
CHILD_MEMORY_BYTES = 4 * 1024**3


class TimeLimitExceeded(BaseException):
    """Raised by the alarm; no Exception, so that no `except Exception` of a verifier eats it."""


def answers_agree_in_time(
    reference: str, answer: str, *, relative_tolerance: Fraction, time_limit_seconds: float
) -> bool:
    """`answers_agree`, or TimeoutError after ``time_limit_seconds`` of wall time."""
    verdict = compare_exactly(reference, answer, relative_tolerance=relative_tolerance)
    if verdict is not None:
        return verdict
    if threading.current_thread() is not threading.main_thread():
        return _CHILD.answers_agree(reference, answer, relative_tolerance, time_limit_seconds)
    load_verifier()
    try:
        with _alarm(time_limit_seconds):
            return compare_symbolically(reference, answer, relative_tolerance=relative_tolerance)
    except TimeLimitExceeded as error:
        raise TimeoutError(f"no verdict in {time_limit_seconds} s") from error


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raises `TimeLimitExceeded` after ``seconds``; an outer timer goes on afterwards."""

    def interrupt(signal_number: int, frame: FrameType | None) -> None:
        raise TimeLimitExceeded

    started = time.monotonic()
    outer_handler = signal.signal(signal.SIGALRM, interrupt)
    # Repeats each second: a bare `except:` in a library may swallow the first.
    outer_delay, outer_interval = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, outer_handler)
        if outer_delay:
            left = max(1e-3, outer_delay - (time.monotonic() - started))
            signal.setitimer(signal.ITIMER_REAL, left, outer_interval)


class _ChildVerifier:
    """One child process that answers one pair at a time, started when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def answers_agree(
        self, reference: str, answer: str, relative_tolerance: Fraction, seconds: float
    ) -> bool:
        request = {
            "reference": reference,
            "answer": answer,
            "relative_tolerance": str(relative_tolerance),
            "last_resort_seconds": math.ceil(seconds) + 1,
        }
        with self._lock:
            process = self._running_process()
            assert process.stdin is not None
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            reply = self._read_line(seconds)
        if reply is None:
            raise TimeoutError(f"no verdict in {seconds} s")
        return reply == b"true\n"

    def _running_process(self) -> subprocess.Popen[bytes]:
        # After a fork the child is the other process's: two can't share its pipes.
        is_ours = self._owner == os.getpid()
        if self._process is None or not is_ours or self._process.poll() is not None:
            command = [sys.executable, "-m", "prorl_nemo.tasks.timed_equality"]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
            self._owner = os.getpid()
            ready = self._read_line(CHILD_START_SECONDS)
            if ready != b"ready\n":
                raise RuntimeError("the verifier's child process did not start")
        return self._process

    def _read_line(self, seconds: float) -> bytes | None:
        """The child's next line; None, with the child killed, when it is late or has died."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        is_ready, _, _ = select.select([process.stdout], [], [], seconds)
        line = process.stdout.readline() if is_ready else b""
        if line:
            return line
        process.kill()
        process.wait()
        self._process = None
        return None


_CHILD = _ChildVerifier()


def _serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    load_verifier()
    resource.setrlimit(resource.RLIMIT_AS, (CHILD_MEMORY_BYTES, CHILD_MEMORY_BYTES))
    replies.write(b"ready\n")
    replies.flush()
    for line in requests:
        request = json.loads(line)
        # Not handled, so it ends this process: nobody else would if the parent has died.
        signal.alarm(request["last_resort_seconds"])
        try:
            verdict = compare_symbolically(
                request["reference"],
                request["answer"],
                relative_tolerance=Fraction(request["relative_tolerance"]),
            )
        except Exception:  # fails closed: an answer no verifier can read is wrong
            verdict = False
        signal.alarm(0)
        replies.write(b"true\n" if verdict else b"false\n")
        replies.flush()


if __name__ == "__main__":
    # What a library prints must not reach the replies.
    own_stdout = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _serve(sys.stdin.buffer, own_stdout)
