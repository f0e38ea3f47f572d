"""Puts a converted model at its path when it is whole, and not before.

The manifest has the form that ``prorl_nemo.atomic_directory.verify_directory`` checks; the
hashes of large files come from their writing, so nothing is read again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from prorl_nemo.atomic_directory import MANIFEST, TEMPORARY_PREFIX


def write_new_directory(output: Path, fill: Callable[[Path], Mapping[str, str]]) -> str:
    """Fills a directory beside ``output`` and renames it; returns the manifest's SHA-256.

    ``fill`` returns the SHA-256 of the files it has hashed itself. What an interrupted
    conversion left is removed first. Raises ValueError when ``output`` exists, when another
    process is writing it, or when the disk can't take it.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(output.parent / f"{TEMPORARY_PREFIX}{output.name}.lock", os.O_CREAT)
    except OSError as error:
        raise ValueError(f"{output}: could not be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _write_locked(output, fill)
    except BlockingIOError:
        raise ValueError(f"{output}: another process is writing it") from None
    except OSError as error:  # a full or failing disk: one line, and no output
        raise ValueError(f"{output}: could not be written: {error.strerror or error}") from error
    finally:
        os.close(lock)


def _write_locked(output: Path, fill: Callable[[Path], Mapping[str, str]]) -> str:
    partial = output.parent / f"{TEMPORARY_PREFIX}{output.name}"
    lock_path = output.parent / f"{partial.name}.lock"
    shutil.rmtree(partial, ignore_errors=True)
    if os.path.lexists(output):
        lock_path.unlink(missing_ok=True)
        raise ValueError(f"{output}: exists already; choose another directory or remove it")
    partial.mkdir()
    try:
        digest = _write_manifest(partial, fill(partial))
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        lock_path.unlink(missing_ok=True)
    _flush(output.parent)
    return digest


def _write_manifest(directory: Path, known: Mapping[str, str]) -> str:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    entries = {}
    for path in files:
        name = path.relative_to(directory).as_posix()
        digest = known.get(name) or hashlib.sha256(path.read_bytes()).hexdigest()
        entries[name] = {"bytes": path.stat().st_size, "sha256": digest}
    text = json.dumps({"version": 1, "files": entries}, indent=1, sort_keys=True)
    (directory / MANIFEST).write_text(text, encoding="utf-8")
    for path in [*files, directory / MANIFEST, directory]:
        _flush(path)
    return hashlib.sha256(text.encode()).hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
