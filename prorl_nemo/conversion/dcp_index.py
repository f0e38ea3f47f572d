"""Reads the index of a DCP directory: Megatron's torch_dist, or the DTensor path's.

Only ``.metadata`` is read, through the inert unpickler: no torch.distributed, no process
group, no Megatron. Formats: torch.distributed.checkpoint.metadata and .filesystem.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from prorl_nemo.conversion.inert_pickle import is_inert, load_inert
from prorl_nemo.conversion.stored_tensor import Chunk, StoredTensor, TensorIndex

METADATA_FILE = ".metadata"
MEGATRON_METADATA_FILE = "metadata.json"


def read_dcp_index(directory: Path) -> TensorIndex:
    """The tensors and pickled objects of the DCP checkpoint in ``directory``.

    Raises ValueError naming the file for a damaged, foreign or newer format.
    """
    _check_megatron_format(directory)
    path = directory / METADATA_FILE
    if not path.is_file():
        raise ValueError(f"{path}: missing: the checkpoint was never completed")
    with path.open("rb") as stream:
        metadata = load_inert(stream, source=path)
    if not is_inert(metadata, "Metadata") or not isinstance(metadata.get("storage_data"), dict):
        raise ValueError(f"{path}: not an index of torch.distributed.checkpoint")
    _check_version(metadata.get("version"), path)
    try:
        return _read_entries(metadata, directory)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged: {error!r}") from error


def _read_entries(metadata: Any, directory: Path) -> TensorIndex:
    storage = _index_storage(metadata.get("storage_data"))
    tensors: dict[str, StoredTensor] = {}
    objects = []
    for name, entry in metadata.get("state_dict_metadata").items():
        if is_inert(entry, "TensorStorageMetadata"):
            tensors[name] = _read_tensor(name, entry, storage, directory)
        else:
            objects.append(name)
    return TensorIndex(tensors=tensors, objects=tuple(objects))


def _check_megatron_format(directory: Path) -> None:
    path = directory / MEGATRON_METADATA_FILE
    if not path.is_file():
        return
    try:
        declared = json.loads(path.read_text())
        backend, version = declared["sharded_backend"], declared["sharded_backend_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged: not Megatron's format record") from error
    if (backend, version) != ("torch_dist", 1):
        raise ValueError(
            f"{path}: format {backend} version {version}; torch_dist version 1 is read"
        )


def _check_version(version: str | None, path: Path) -> None:
    if version is not None and not version.startswith("1."):
        raise ValueError(f"{path}: DCP format {version} is newer than the 1.x this release reads")


def _index_storage(storage_data: dict[Any, Any]) -> dict[tuple[str, tuple[int, ...]], Any]:
    return {(key.get("fqn"), tuple(key.get("offset") or ())): v for key, v in storage_data.items()}


def _read_tensor(name: str, entry: Any, storage: dict[Any, Any], directory: Path) -> StoredTensor:
    dtype = _read_dtype(entry.get("properties"))
    if dtype is None:
        raise ValueError(f"{directory / METADATA_FILE}: damaged: {name} has no dtype")
    chunks = []
    for chunk in entry.get("chunks"):
        offsets, sizes = tuple(chunk.get("offsets")), tuple(chunk.get("sizes"))
        place = storage.get((name, offsets))
        if place is None:
            raise ValueError(
                f"{directory / METADATA_FILE}: incomplete: {name} at {offsets} was never written"
            )
        if place.get("transform_descriptors"):
            raise ValueError(f"{directory}: {name} is stored compressed, which is not read")
        path = _inside(directory, place.get("relative_path"))
        start, length = int(place.get("offset")), int(place.get("length"))
        chunks.append(Chunk(path, start, length, offsets, sizes, True))
    return StoredTensor(name, tuple(entry.get("size")), dtype, tuple(chunks))


def _read_dtype(properties: Any) -> torch.dtype | None:
    """TensorProperties pickles itself as a tuple; before torch 2.1, as its attributes."""
    state = properties.state
    dtype = state[0] if isinstance(state, tuple) else state.get("dtype")
    return dtype if isinstance(dtype, torch.dtype) else None


def _inside(directory: Path, relative_path: str) -> Path:
    if Path(relative_path).name != relative_path:
        raise ValueError(f"{directory / METADATA_FILE}: names a file elsewhere: {relative_path}")
    return directory / relative_path
