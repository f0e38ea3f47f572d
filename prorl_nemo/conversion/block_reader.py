"""Reads one block of a stored tensor, the whole of it or one stacked layer, into memory.

Bytes go from the file straight into the block when a chunk fills consecutive rows of it;
otherwise through a buffer of one chunk. Checksums that torch.save wrote are checked beside
the reading. Memory is allocated once: fresh pages cost more than the reading itself.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO

import torch
from torch import Tensor

from prorl_nemo.conversion.stored_tensor import Chunk, StoredTensor
from prorl_nemo.conversion.torch_archive import RawData, locate_data

WINDOW_BYTES = 16 << 20


def read_block(tensor: StoredTensor, layer: int | None = None) -> Tensor:
    """The tensor, or ``tensor[layer]`` of a stack, in memory of its own."""
    return BlockReader().read(tensor, layer)


def as_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous tensor, not copied."""
    return memoryview(tensor.view(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]


class BlockReader:
    """Reads blocks one after the other into the same memory.

    A block is valid until the next ``read``. ``should_check`` compares checksums.
    """

    def __init__(self, *, should_check: bool = True) -> None:
        self.should_check = should_check
        self._pool = ThreadPoolExecutor(1)
        self._block = torch.empty(0, dtype=torch.uint8)
        self._chunk = torch.empty(0, dtype=torch.uint8)

    def read(self, tensor: StoredTensor, layer: int | None = None) -> Tensor:
        """The tensor, or ``tensor[layer]``; raises ValueError naming a damaged file."""
        num_axes = len(tensor.shape)
        starts = (0,) * num_axes if layer is None else (layer, *(0,) * (num_axes - 1))
        sizes = tensor.shape if layer is None else (1, *tensor.shape[1:])
        self._block = _grow(self._block, sizes, tensor.dtype)
        block = _shape_buffer(self._block, sizes, tensor.dtype)
        for chunk in tensor.chunks:
            if _meets(chunk, starts, sizes):
                self._read_chunk(chunk, tensor, block, starts)
        return block if layer is None else block[0]

    def _read_chunk(
        self, chunk: Chunk, tensor: StoredTensor, block: Tensor, starts: tuple[int, ...]
    ) -> None:
        """Copies the part of ``chunk`` that lies in ``block`` (which begins at ``starts``)."""
        source, target = _overlap(chunk, block, starts)
        is_whole = all(s == slice(0, n) for s, n in zip(source, chunk.sizes, strict=True))
        place = block[target] if target else block
        is_direct = is_whole and place.is_contiguous()
        if not is_direct:
            self._chunk = _grow(self._chunk, chunk.sizes, tensor.dtype)
        data = place if is_direct else _shape_buffer(self._chunk, chunk.sizes, tensor.dtype)
        try:
            with chunk.path.open("rb", buffering=0) as stream:
                self._fill(stream, locate_data(stream, chunk, tensor), data, chunk)
        except OSError as error:  # told apart from an output that can't be written
            raise ValueError(f"{chunk.path}: could not be read: {error.strerror}") from error
        if not is_direct:
            place.copy_(data[source] if source else data)

    def _fill(self, stream: IO[bytes], raw: RawData, data: Tensor, chunk: Chunk) -> None:
        view = as_bytes(data) if data.numel() else memoryview(b"")
        is_checked = self.should_check and raw.crc32 is not None
        stream.seek(raw.start)
        position, crc32 = 0, _completed(0)
        while position < len(view):
            window = view[position : position + WINDOW_BYTES]
            num_read = stream.readinto(window)  # type: ignore[attr-defined]  # a raw FileIO
            if not num_read:
                raise ValueError(f"{chunk.path}: truncated at byte {raw.start + position}")
            if is_checked:
                crc32 = self._pool.submit(_continue_crc32, crc32.result, window[:num_read])
            position += num_read
        if is_checked and len(view) and crc32.result() != raw.crc32:
            raise ValueError(
                f"{chunk.path}: damaged: the checksum of the bytes at {raw.start} is wrong"
            )


def _completed(value: int) -> Future[int]:
    future: Future[int] = Future()
    future.set_result(value)
    return future


def _continue_crc32(previous: Callable[[], int], window: memoryview) -> int:
    """The pool has one thread and keeps order: ``previous`` is done when this runs."""
    return zlib.crc32(window, previous())


def _grow(buffer: Tensor, sizes: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    num_bytes = math.prod(sizes) * dtype.itemsize
    return buffer if len(buffer) >= num_bytes else torch.empty(num_bytes, dtype=torch.uint8)


def _shape_buffer(buffer: Tensor, sizes: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    num_bytes = math.prod(sizes) * dtype.itemsize
    return buffer[:num_bytes].view(dtype).view(sizes)


def _meets(chunk: Chunk, starts: tuple[int, ...], sizes: tuple[int, ...]) -> bool:
    return all(
        max(offset, start) < min(offset + extent, start + size)
        for offset, extent, start, size in zip(
            chunk.offsets, chunk.sizes, starts, sizes, strict=True
        )
    )


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
