"""What people and schedulers ask of a running campaign: save, stop, reset.

SIGTERM and SIGUSR1 (Slurm's warning before a time limit) and the files SAVE and STOP in the
run directory are looked at between steps. ``prorl reset`` leaves the file RESET with an id,
so that a request is honoured once even if the run dies in between.
"""

from __future__ import annotations

import signal
import sys
import uuid
from pathlib import Path
from types import FrameType

from prorl_nemo.atomic_directory import write_text

SAVE_FILE = "SAVE"
STOP_FILE = "STOP"
YIELD_FILE = "YIELD"  # this job ends, the campaign goes on in another
RESET_FILE = "RESET"
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class RunRequests:
    """Requests seen so far; ``install_signal_handlers`` makes signals count as stops."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._signal: str | None = None
        self._stop_reason: str | None = None

    def install_signal_handlers(self) -> None:
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def exit_on_signals(self) -> None:
        """From now on a signal ends the process at once: for work that resumes from anywhere."""
        for number in SIGNALS:
            signal.signal(number, lambda number, frame: sys.exit(0))

    def stop_reason(self) -> str | None:
        """Why to save and exit at this step boundary, or None. Once asked, it stays asked."""
        if self._signal is not None:
            self._stop_reason = f"received {self._signal}"
        elif (self._root / STOP_FILE).exists():
            self._stop_reason = f"file {STOP_FILE}"
        elif (self._root / YIELD_FILE).exists():
            self._stop_reason = f"file {YIELD_FILE}"
        return self._stop_reason

    def drop_stop(self) -> None:
        """Forget the file STOP: it ends one job, not every later one behind a step."""
        (self._root / STOP_FILE).unlink(missing_ok=True)

    def take_save(self) -> bool:
        """Whether a checkpoint was asked for; the request is then gone."""
        path = self._root / SAVE_FILE
        asked = path.exists()
        path.unlink(missing_ok=True)
        return asked

    def reset_request(self) -> str | None:
        """The id of a pending reset by hand."""
        try:
            return (self._root / RESET_FILE).read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None

    def drop_reset(self, handled: str | None) -> None:
        """Forget the request ``handled``; call once a checkpoint remembers it."""
        if handled is not None and self.reset_request() == handled:
            (self._root / RESET_FILE).unlink(missing_ok=True)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        received = signal.Signals(number)
        if received is signal.SIGINT and self._signal is not None:
            raise KeyboardInterrupt  # asked twice by hand: don't wait for the step
        self._signal = received.name


def request_reset(root: Path) -> str:
    """Ask the campaign in ``root`` for a reset after its current step; returns the id."""
    identifier = uuid.uuid4().hex
    write_text(root / RESET_FILE, identifier)
    return identifier
