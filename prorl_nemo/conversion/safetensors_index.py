"""Reads the index of a directory of safetensors files, whole tensors or DTensor shards.

Sharded files carry ``DCP_SHARDING_INFO`` in their header (torch's HuggingFaceStorageWriter
and NeMo Automodel write it): the offset of each piece in its full tensor.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import torch

from prorl_nemo.conversion.stored_tensor import Chunk, StoredTensor, TensorIndex

INDEX_FILE = "model.safetensors.index.json"
WEIGHT_FILES = "*model*.safetensors"
SHARDING_KEY = "DCP_SHARDING_INFO"
MAX_HEADER_BYTES = 100_000_000
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def read_safetensors_index(directory: Path) -> TensorIndex:
    """The tensors of the files that the index names, or else of every ``*model*.safetensors``.

    Shards of a tensor are joined. Other files (an optimizer's) are not the model's.

    Raises ValueError naming the file that is damaged, or that the index names and is missing.
    """
    listed = _read_listed_names(directory)
    pieces: dict[str, list[tuple[Chunk, torch.dtype]]] = {}
    paths = {directory / file_name for file_name in listed.values()}
    for path in sorted(paths or directory.glob(WEIGHT_FILES)):
        if not path.is_file():
            raise ValueError(f"{path}: missing, but the index names it")
        try:
            for name, chunk, dtype in _read_pieces(path):
                pieces.setdefault(name, []).append((chunk, dtype))
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: damaged: its header lacks {error}") from error
    for name, file_name in listed.items():
        if name not in pieces:
            raise ValueError(f"{directory / file_name}: incomplete: {name} is not in it")
    return TensorIndex(tensors={name: _join(name, parts) for name, parts in pieces.items()})


def _read_listed_names(directory: Path) -> dict[str, str]:
    path = directory / INDEX_FILE
    if not path.is_file():
        return {}
    try:
        weight_map = json.loads(path.read_text())["weight_map"]
        return {str(name): str(file_name) for name, file_name in weight_map.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: damaged: not an index of safetensors files") from error


def _read_pieces(path: Path) -> list[tuple[str, Chunk, torch.dtype]]:
    header, data_start = _read_header(path)
    sharding = json.loads(header.pop("__metadata__", {}).get(SHARDING_KEY, "{}"))
    pieces = []
    for name, entry in header.items():
        sizes, dtype = tuple(entry["shape"]), DTYPES.get(entry["dtype"])
        begin, end = entry["data_offsets"]
        if dtype is None:
            raise ValueError(f"{path}: {name} has the unknown dtype {entry['dtype']}")
        if end - begin != math.prod(sizes) * dtype.itemsize:
            raise ValueError(
                f"{path}: damaged: {name} {sizes} does not fill its {end - begin} bytes"
            )
        offsets = tuple(sharding.get(name, {}).get("saved_offsets", (0,) * len(sizes)))
        chunk = Chunk(path, data_start + begin, end - begin, offsets, sizes, False)
        pieces.append((name, chunk, dtype))
    return pieces


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    with path.open("rb") as stream:
        prefix = stream.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else MAX_HEADER_BYTES + 1
        raw = stream.read(length) if length <= MAX_HEADER_BYTES else b""
    try:
        header = json.loads(raw)
    except ValueError as error:
        raise ValueError(f"{path}: damaged: no safetensors header") from error
    if not isinstance(header, dict):
        raise ValueError(f"{path}: damaged: no safetensors header")
    return header, 8 + length


def _join(name: str, parts: list[tuple[Chunk, torch.dtype]]) -> StoredTensor:
    chunks = tuple(chunk for chunk, _ in parts)
    ranks = {len(chunk.sizes) for chunk in chunks}
    dtypes = {dtype for _, dtype in parts}
    if len(ranks) != 1 or len(dtypes) != 1:
        raise ValueError(f"{chunks[-1].path}: pieces of {name} differ in rank or dtype")
    shape = tuple(
        max(chunk.offsets[axis] + chunk.sizes[axis] for chunk in chunks)
        for axis in range(ranks.pop())
    )
    return StoredTensor(name, shape, dtypes.pop(), chunks)
