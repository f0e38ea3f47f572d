"""Reads one block of a stored tensor, the whole of it or one stacked layer, into memory.

Bytes go from the file straight into the block when a chunk fills consecutive rows of it;
otherwise through a buffer of one chunk. Checksums that torch.save wrote are checked.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from prorl_nemo.conversion.inert_pickle import load_inert
from prorl_nemo.conversion.stored_tensor import Chunk, StoredTensor

CHECKSUM_STEP_BYTES = 8 << 20


@dataclass(frozen=True)
class _RawData:
    """Where the elements of a chunk lie, and their CRC-32 when the whole record is the chunk."""

    start: int
    crc32: int | None


def read_block(tensor: StoredTensor, layer: int | None, *, should_check: bool = True) -> Tensor:
    """The tensor, or ``tensor[layer]`` of a stack.

    Raises ValueError naming the file when a chunk is damaged.
    """
    starts = (0,) * len(tensor.shape) if layer is None else (layer, *(0,) * (len(tensor.shape) - 1))
    sizes = tensor.shape if layer is None else (1, *tensor.shape[1:])
    block = torch.empty(sizes, dtype=tensor.dtype)
    for chunk in tensor.chunks:
        if _meets(chunk, starts, sizes):
            _read_chunk(chunk, tensor, block, starts=starts, should_check=should_check)
    return block if layer is None else block[0]


def _meets(chunk: Chunk, starts: tuple[int, ...], sizes: tuple[int, ...]) -> bool:
    return all(
        max(offset, start) < min(offset + extent, start + size)
        for offset, extent, start, size in zip(
            chunk.offsets, chunk.sizes, starts, sizes, strict=True
        )
    )


def _read_chunk(
    chunk: Chunk,
    tensor: StoredTensor,
    block: Tensor,
    *,
    starts: tuple[int, ...],
    should_check: bool,
) -> None:
    """Copies the part of ``chunk`` that lies in ``block`` (which begins at ``starts``)."""
    source, target = _overlap(chunk, block, starts)
    with chunk.path.open("rb", buffering=0) as stream:
        raw = _locate_data(stream, chunk, tensor)
        is_whole = all(s == slice(0, n) for s, n in zip(source, chunk.sizes, strict=True))
        place = block[target] if target else block
        is_direct = is_whole and place.is_contiguous()
        data = place if is_direct else torch.empty(chunk.sizes, dtype=tensor.dtype)
        _fill(stream, raw, data, chunk=chunk, should_check=should_check)
    if not is_direct:
        place.copy_(data[source] if source else data)


def _overlap(
    chunk: Chunk, block: Tensor, starts: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    source, target = [], []
    for offset, extent, start, size in zip(
        chunk.offsets, chunk.sizes, starts, block.shape, strict=True
    ):
        low, high = max(offset, start), min(offset + extent, start + size)
        source.append(slice(low - offset, high - offset))
        target.append(slice(low - start, high - start))
    return tuple(source), tuple(target)


def as_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous tensor, not copied."""
    return memoryview(tensor.view(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]


def _fill(
    stream: IO[bytes], raw: _RawData, data: Tensor, *, chunk: Chunk, should_check: bool
) -> None:
    if not data.numel():
        return
    view = as_bytes(data)
    stream.seek(raw.start)
    crc32, position = 0, 0
    while position < len(view):
        window = view[position : position + CHECKSUM_STEP_BYTES]
        num_read = stream.readinto(window)  # type: ignore[attr-defined]  # a raw FileIO
        if not num_read:
            raise ValueError(f"{chunk.path}: truncated at byte {raw.start + position}")
        if should_check and raw.crc32 is not None:
            crc32 = zlib.crc32(window[:num_read], crc32)
        position += num_read
    if should_check and raw.crc32 is not None and crc32 != raw.crc32:
        raise ValueError(f"{chunk.path}: damaged: the checksum of bytes at {raw.start} is wrong")


def _locate_data(stream: IO[bytes], chunk: Chunk, tensor: StoredTensor) -> _RawData:
    if not chunk.is_torch_save:
        return _RawData(chunk.start, None)
    num_bytes = math.prod(chunk.sizes) * tensor.dtype.itemsize
    window = _Window(stream, start=chunk.start, length=chunk.length, path=chunk.path)
    try:
        return _parse_archive(window, num_bytes=num_bytes)
    except (zipfile.BadZipFile, struct.error, KeyError, IndexError, pickle.PickleError) as error:
        raise ValueError(f"{chunk.path}: damaged: {tensor.name} is not readable in it") from error


def _parse_archive(window: _Window, *, num_bytes: int) -> _RawData:
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
    return _RawData(start + first * itemsize, record.CRC if is_all else None)


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
