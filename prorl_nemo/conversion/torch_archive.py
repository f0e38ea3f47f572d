"""Finds the raw elements inside a ``torch.save`` archive that is a part of a larger file.

DCP stores each piece of a tensor as such an archive. The archive is an uncompressed zip: its
small pickle says which record holds the elements, and they are read from the file directly.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from prorl_nemo.conversion.inert_pickle import load_inert
from prorl_nemo.conversion.stored_tensor import Chunk, StoredTensor


@dataclass(frozen=True)
class RawData:
    """Where the elements of a chunk lie, and their CRC-32 when the whole record is the chunk."""

    start: int
    crc32: int | None


def locate_data(stream: IO[bytes], chunk: Chunk, tensor: StoredTensor) -> RawData:
    """Where ``chunk`` has its elements; raises ValueError naming the file when it is damaged."""
    if not chunk.is_torch_save:
        return RawData(chunk.start, None)
    num_bytes = math.prod(chunk.sizes) * tensor.dtype.itemsize
    window = _Window(stream, start=chunk.start, length=chunk.length, path=chunk.path)
    try:
        return _parse_archive(window, num_bytes=num_bytes)
    except OSError:
        raise
    except Exception as error:  # any byte pattern may be in a damaged file: fail closed
        raise ValueError(f"{chunk.path}: damaged: {tensor.name} is not readable in it") from error


def _parse_archive(window: _Window, *, num_bytes: int) -> RawData:
    """The data record of a ``torch.save`` archive that holds one contiguous tensor."""
    with zipfile.ZipFile(io.BufferedReader(window)) as archive:
        records = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        rebuild = load_inert(io.BytesIO(archive.read(records["data.pkl"])), source=window.path)
    while rebuild.type_name.endswith("_rebuild_parameter"):
        rebuild = rebuild.args[0]
    (_, _, key, _, num_elements), first, size, stride = rebuild.args[:4]
    record = records[f"data/{key}"]
    itemsize = record.file_size // num_elements if num_elements else 1
    is_stored = record.compress_type == zipfile.ZIP_STORED
    if not is_stored or math.prod(size) * itemsize != num_bytes or not _is_row_major(size, stride):
        raise ValueError(f"{window.path}: a piece of another size or order than its index says")
    window.seek(record.header_offset + 26)
    name_length, extra_length = struct.unpack("<HH", window.read(4))
    start = window.start + record.header_offset + 30 + name_length + extra_length
    is_all = record.file_size == num_bytes
    return RawData(start + first * itemsize, record.CRC if is_all else None)


def _is_row_major(size: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    expected = 1
    for extent, step in zip(reversed(size), reversed(stride), strict=True):
        if extent != 1 and step != expected:
            return False
        expected *= extent
    return True


class _Window(io.RawIOBase):
    """A part of an open file, seen as a file of its own."""

    def __init__(self, stream: IO[bytes], *, start: int, length: int, path: Path) -> None:
        self.stream, self.start, self.length, self.path = stream, start, length, path
        self.position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.length}[whence]
        self.position = base + offset
        return self.position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = max(0, min(len(buffer), self.length - self.position))
        self.stream.seek(self.start + self.position)
        data = self.stream.read(count)
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)
