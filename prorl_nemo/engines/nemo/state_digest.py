"""A hash of a worker's weights, so that a reset can be checked on every rank.

Equal weights have equal hashes whatever device they are on. Transformer Engine's extra state is
part of it: it decides what FP8 weights mean.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def digest_state(state: Mapping[str, Any], *, with_extra_state: bool = True) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        if "_extra_state" in name and not with_extra_state:
            continue
        digest.update(name.encode())
        digest.update(_bytes_of(state[name]))
    return digest.hexdigest()


def _bytes_of(value: Any) -> bytes:
    if isinstance(value, io.BytesIO):
        return value.getvalue()
    if not isinstance(value, Tensor):
        return repr(value).encode()
    local = value.to_local() if hasattr(value, "to_local") else value
    flat = local.detach().cpu().contiguous().reshape(-1)
    header = f"{local.dtype}{tuple(local.shape)}".encode()
    return header + flat.view(torch.uint8).numpy().tobytes()
