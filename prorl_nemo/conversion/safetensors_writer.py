"""Writes blocks as sharded safetensors, straight from memory, never a second copy.

The layout of every file follows from the plan before the first byte, so a shard's header is
written first and the tensors stream after it.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from prorl_nemo.conversion.block_reader import as_bytes
from prorl_nemo.conversion.export_plan import ExportedBlock, ExportPlan
from prorl_nemo.conversion.output_file import HashedFile
from prorl_nemo.conversion.safetensors_index import DTYPES, INDEX_FILE

DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
HEADER_ALIGNMENT = 8


@dataclass(frozen=True)
class WrittenTensor:
    """A row of the manifest: what was written, where, and what it was made from."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    source: str


@dataclass(frozen=True)
class WrittenShards:
    """Every tensor, and the SHA-256 of every file."""

    tensors: tuple[WrittenTensor, ...]
    hashes: Mapping[str, str]


def split_into_shards(plan: ExportPlan, max_shard_bytes: int) -> list[list[ExportedBlock]]:
    """Consecutive blocks of at most ``max_shard_bytes`` together; a larger block is alone."""
    shards: list[list[ExportedBlock]] = []
    size = 0
    for block in plan.blocks:
        num_bytes = _count_bytes(block)
        if not shards or size + num_bytes > max_shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(block)
        size += num_bytes
    return shards


def write_shards(
    shards: list[list[ExportedBlock]],
    directory: Path,
    read: Callable[[ExportedBlock], Tensor],
    on_bytes: Callable[[int], None],
) -> WrittenShards:
    """Writes every shard, and an index when there are several.

    ``read`` loads a block; ``on_bytes`` hears how many bytes of tensor data were written.
    """
    written: list[WrittenTensor] = []
    hashes: dict[str, str] = {}
    for number, blocks in enumerate(shards, start=1):
        single = len(shards) == 1
        name = "model" if single else f"model-{number:05d}-of-{len(shards):05d}"
        path = directory / f"{name}.safetensors"
        with HashedFile(path) as file:
            file.write([make_header(blocks)])
            for block in blocks:
                file.write(list(_split_rows(block, read(block))))
                on_bytes(_count_bytes(block))
        hashes[path.name] = file.sha256
        written.extend(_describe(blocks, path.name))
    if len(shards) > 1:
        _write_index(written, directory)
    return WrittenShards(tuple(written), hashes)


def make_header(blocks: Iterable[ExportedBlock]) -> bytes:
    """The length-prefixed JSON header of a safetensors file that holds ``blocks`` in order."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for block in blocks:
        for output in block.outputs:
            end = position + math.prod(output.shape) * block.dtype.itemsize
            header[output.name] = {
                "dtype": DTYPE_NAMES[block.dtype],
                "shape": list(output.shape),
                "data_offsets": [position, end],
            }
            position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % HEADER_ALIGNMENT)
    return struct.pack("<Q", len(text)) + text


def _split_rows(block: ExportedBlock, data: Tensor) -> Iterable[memoryview]:
    for output in block.outputs:
        for start, stop in output.row_ranges:
            rows = data[start:stop] if data.dim() else data
            yield as_bytes(rows)


def _describe(blocks: Iterable[ExportedBlock], file_name: str) -> list[WrittenTensor]:
    rows = []
    for block in blocks:
        layer = "" if block.layer is None else f"[{block.layer}]"
        for output in block.outputs:
            rows.append(
                WrittenTensor(
                    name=output.name,
                    dtype=str(block.dtype).removeprefix("torch."),
                    shape=output.shape,
                    file=file_name,
                    source=f"{block.source.name}{layer}",
                )
            )
    return rows


def _count_bytes(block: ExportedBlock) -> int:
    return sum(math.prod(output.shape) for output in block.outputs) * block.dtype.itemsize


def _write_index(written: list[WrittenTensor], directory: Path) -> None:
    total = sum(math.prod(row.shape) * getattr(torch, row.dtype).itemsize for row in written)
    index = {
        "metadata": {"total_size": total},
        "weight_map": {row.name: row.file for row in sorted(written, key=lambda row: row.name)},
    }
    (directory / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n")
