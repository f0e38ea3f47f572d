"""Where the bytes of a checkpoint's tensors lie: one index for every format.

A stored tensor is a grid of chunks, each a contiguous row-major block in some file. Nothing
here reads tensor data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

MAX_CHUNK_PAIRS = 200_000


@dataclass(frozen=True)
class Chunk:
    """A block of a tensor in ``path``, bytes [start, start + length).

    ``is_torch_save`` says that those bytes are a ``torch.save`` archive rather than raw data.
    """

    path: Path
    start: int
    length: int
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    is_torch_save: bool


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of the checkpoint under its stored name."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    chunks: tuple[Chunk, ...]

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class TensorIndex:
    """Everything a checkpoint holds: tensors by name, and names of pickled objects."""

    tensors: dict[str, StoredTensor]
    objects: tuple[str, ...] = ()


def check_index(index: TensorIndex) -> None:
    """Raises ValueError, naming the file, unless every chunk's bytes exist and chunks tile."""
    sizes: dict[Path, int] = {}
    for tensor in index.tensors.values():
        for chunk in tensor.chunks:
            if chunk.path not in sizes:
                if not chunk.path.is_file():
                    raise ValueError(f"{chunk.path}: missing, but {tensor.name} is stored in it")
                sizes[chunk.path] = chunk.path.stat().st_size
            if chunk.start + chunk.length > sizes[chunk.path]:
                raise ValueError(
                    f"{chunk.path}: truncated: {tensor.name} ends at byte "
                    f"{chunk.start + chunk.length}, the file has {sizes[chunk.path]}"
                )
        _check_tiling(tensor)


def _check_tiling(tensor: StoredTensor) -> None:
    """Chunks inside the shape, no two overlapping, together the whole tensor."""
    for chunk in tensor.chunks:
        ends = [o + s for o, s in zip(chunk.offsets, chunk.sizes, strict=True)]
        if len(ends) != len(tensor.shape) or any(
            e > d for e, d in zip(ends, tensor.shape, strict=True)
        ):
            raise ValueError(f"{chunk.path}: a piece of {tensor.name} lies outside {tensor.shape}")
    stored = sum(math.prod(chunk.sizes) for chunk in tensor.chunks)
    if stored != math.prod(tensor.shape) or _has_overlap(tensor):
        where = tensor.chunks[0].path.parent if tensor.chunks else "the checkpoint"
        raise ValueError(
            f"{where}: incomplete: {tensor.name} {tensor.shape} has {stored} of "
            f"{math.prod(tensor.shape)} elements"
        )


def _has_overlap(tensor: StoredTensor) -> bool:
    by_first: dict[int, list[Chunk]] = {}
    for chunk in tensor.chunks:
        by_first.setdefault(chunk.offsets[0] if chunk.offsets else 0, []).append(chunk)
    groups = [tensor.chunks] if _spans_rows(tensor) else list(by_first.values())
    if sum(len(group) ** 2 for group in groups) > MAX_CHUNK_PAIRS:
        return len({chunk.offsets for chunk in tensor.chunks}) < len(tensor.chunks)
    return any(
        _intersects(a, b)
        for group in groups
        for position, a in enumerate(group)
        for b in group[position + 1 :]
    )


def _spans_rows(tensor: StoredTensor) -> bool:
    """False for stacked layers, where chunks with different first offsets can't meet."""
    return any(chunk.sizes and chunk.sizes[0] != 1 for chunk in tensor.chunks)


def _intersects(a: Chunk, b: Chunk) -> bool:
    return all(
        max(ao, bo) < min(ao + asize, bo + bsize)
        for ao, asize, bo, bsize in zip(a.offsets, a.sizes, b.offsets, b.sizes, strict=True)
    )
