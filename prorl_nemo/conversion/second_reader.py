"""A second way to read a checkpoint's tensors, for verification.

It shares the index with the converter and nothing else: chunks are decoded by torch.load
(``weights_only``) and by safetensors. It keeps two copies of a chunk in memory, so the
converter doesn't use it.
"""

from __future__ import annotations

import io

import torch
from safetensors import safe_open
from torch import Tensor

from prorl_nemo.conversion.stored_tensor import Chunk, StoredTensor


def load_float32(tensor: StoredTensor, layer: int | None = None) -> Tensor:
    """The tensor, or one layer of a stack, as float32."""
    chunks = [c for c in tensor.chunks if layer is None or _holds_layer(c, layer)]
    result = torch.empty(tensor.shape if layer is None else (1, *tensor.shape[1:]))
    for chunk in chunks:
        data = _decode(chunk, tensor.name)
        region = [slice(o, o + s) for o, s in zip(chunk.offsets, chunk.sizes, strict=True)]
        if layer is not None:
            data = data[layer - chunk.offsets[0]][None]
            region[0] = slice(0, 1)
        result[tuple(region)] = data.float()
    return result if layer is None else result[0]


def _holds_layer(chunk: Chunk, layer: int) -> bool:
    return chunk.offsets[0] <= layer < chunk.offsets[0] + chunk.sizes[0]


def _decode(chunk: Chunk, name: str) -> Tensor:
    if not chunk.is_torch_save:
        with safe_open(chunk.path, framework="pt") as file:
            return file.get_tensor(name)  # type: ignore[no-any-return]
    with chunk.path.open("rb") as stream:
        stream.seek(chunk.start)
        archive = io.BytesIO(stream.read(chunk.length))
    return torch.load(archive, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
