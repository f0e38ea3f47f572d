"""Directories that are either whole or absent.

A directory is filled under a temporary name, gets a manifest with the size and SHA-256 of
every file, is flushed to disk and then renamed. ``verify_directory`` tells a whole one from
one that a full disk, a crash or a bad cable has damaged.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

MANIFEST = "manifest.json"
TEMPORARY_PREFIX = ".incomplete-"
REPLACED_PREFIX = ".replaced-"


class DamagedDirectoryError(ValueError):
    """A directory whose content is not what its manifest says; the message names the file."""


def write_directory(target: Path, fill: Callable[[Path], None]) -> str:
    """Fill a new directory and put it at ``target``, replacing what is there.

    Returns the hash of its manifest. Raises OSError when the disk can't take it; ``target``
    is then as it was before.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f"{TEMPORARY_PREFIX}{target.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        fill(temporary)
        digest = _write_manifest(temporary)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    replaced = target.parent / f"{REPLACED_PREFIX}{target.name}"
    if target.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        target.rename(replaced)  # kept until the new one is there: see remove_leftovers
    temporary.rename(target)
    _flush(target.parent)
    shutil.rmtree(replaced, ignore_errors=True)
    return digest


def write_text(path: Path, text: str) -> None:
    """Replace a file by one that is whole on disk."""
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _flush(path.parent)


def verify_directory(directory: Path) -> str:
    """Check every file against the manifest and return the manifest's hash.

    Raises DamagedDirectoryError that names the first file that is missing or differs.
    """
    manifest = directory / MANIFEST
    try:
        text = manifest.read_text(encoding="utf-8")
        files = json.loads(text)["files"].items()
        entries = {name: (entry["bytes"], entry["sha256"]) for name, entry in files}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DamagedDirectoryError(f"{manifest}: missing or unreadable") from None
    for name, (size, sha256) in entries.items():
        path = directory / name
        if not path.is_file() or path.stat().st_size != size:
            raise DamagedDirectoryError(f"{path}: missing or cut short")
        if _hash_file(path) != sha256:
            raise DamagedDirectoryError(f"{path}: content differs from its manifest")
    return hashlib.sha256(text.encode()).hexdigest()


def remove_directory(directory: Path) -> None:
    """Remove a directory so that an interruption never leaves a part of it under its name."""
    doomed = directory.parent / f"{TEMPORARY_PREFIX}remove-{directory.name}"
    shutil.rmtree(doomed, ignore_errors=True)
    directory.rename(doomed)
    shutil.rmtree(doomed)


def remove_leftovers(parent: Path) -> None:
    """Tidy up behind interrupted writes; a directory that was being replaced comes back."""
    for path in parent.glob(f"{REPLACED_PREFIX}*"):
        target = parent / path.name.removeprefix(REPLACED_PREFIX)
        shutil.rmtree(path) if target.exists() else path.rename(target)
    for path in parent.glob(f"{TEMPORARY_PREFIX}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _write_manifest(directory: Path) -> str:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    entries = {
        path.relative_to(directory).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": _hash_file(path),
        }
        for path in files
    }
    text = json.dumps({"version": 1, "files": entries}, indent=1, sort_keys=True)
    write_text(directory / MANIFEST, text)
    for path in files:
        _flush(path)
    for path in {path.parent for path in files}:
        _flush(path)
    return hashlib.sha256(text.encode()).hexdigest()


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
