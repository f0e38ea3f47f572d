"""A file written once, front to back, that is hashed and flushed while it is written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

FLUSH_BYTES = 256 << 20
WINDOW_BYTES = 8 << 20


class HashedFile:
    """Raises OSError when the disk can't take it; ``sha256`` is right after it is closed."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._hash = hashlib.sha256()
        self._workers = ThreadPoolExecutor(2)
        self._flushing: Future[None] | None = None
        self._num_dirty = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, pieces: Sequence[memoryview | bytes]) -> None:
        """Appends ``pieces``; their memory may be reused when it returns."""
        for piece in pieces:
            view = memoryview(piece)
            for start in range(0, len(view), WINDOW_BYTES):
                self._write_window(view[start : start + WINDOW_BYTES])
            self._num_dirty += len(view)
        self._start_flush()

    def _write_window(self, window: memoryview) -> None:
        """Hashes and writes the same bytes side by side, while they are in the cache."""
        hashing = self._workers.submit(self._hash.update, window)
        left = window
        while left:
            left = left[os.write(self.descriptor, left) :]
        hashing.result()

    def _start_flush(self) -> None:
        """Lets the disk work while the next block is read."""
        is_busy = self._flushing is not None and not self._flushing.done()
        if self._num_dirty >= FLUSH_BYTES and not is_busy:
            self._flushing = self._workers.submit(os.fdatasync, self.descriptor)
            self._num_dirty = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._workers.shutdown()
        try:
            if self._flushing is not None:
                self._flushing.result()
            os.fsync(self.descriptor)
        finally:
            os.close(self.descriptor)
