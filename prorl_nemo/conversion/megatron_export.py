"""The way back: a Hugging Face directory as a Megatron torch_dist checkpoint, without Megatron.

For a restart or a pinned reference: NeMo-RL reads it as ``checkpointing.pretrained_checkpoint``
with ``format: megatron_lm``, under any parallel layout. It uses the converter's mapping
backwards: rows of Megatron's blocks are filled from the Hugging Face tensors.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor
from torch.distributed.checkpoint import metadata as dcp
from torch.distributed.checkpoint.filesystem import _StorageInfo

from prorl_nemo.atomic_directory import write_directory
from prorl_nemo.conversion.block_reader import read_block
from prorl_nemo.conversion.checkpoint_plan import read_index
from prorl_nemo.conversion.dcp_index import MEGATRON_METADATA_FILE, METADATA_FILE
from prorl_nemo.conversion.export_plan import ExportedBlock, check_plan
from prorl_nemo.conversion.locate import TRACKER_FILE, locate_checkpoint
from prorl_nemo.conversion.megatron_names import plan_megatron
from prorl_nemo.conversion.model_config import (
    ModelConfig,
    find_model_config,
    list_expected_tensors,
    make_decoder_shape,
)
from prorl_nemo.conversion.stored_tensor import StoredTensor, TensorIndex, check_index

ITERATION = "iter_0000000"
DATA_FILE = "__0_0.distcp"
EXTRA_STATE_OWNERS = (
    "self_attention.linear_qkv",
    "self_attention.linear_proj",
    "mlp.linear_fc1",
    "mlp.linear_fc2",
)


def export_to_megatron(model: Path, output: Path) -> int:
    """Writes ``output``/iter_0000000 from the Hugging Face directory ``model``.

    Returns the number of bytes of tensor data. Raises ValueError with one line when the model
    is damaged, incomplete, of a family that isn't mapped, or when ``output`` exists.
    """
    if os.path.lexists(output):
        raise ValueError(f"{output}: exists already; choose another directory or remove it")
    source = locate_checkpoint(model)
    config = find_model_config(source, None)
    index = read_index(source)
    check_index(index)
    stored = _list_megatron_tensors(index, config)
    plan = plan_megatron(TensorIndex(stored), make_decoder_shape(config))
    check_plan(plan, list_expected_tensors(config), where=source.weights)
    writer = _Writer(stored)

    def fill(directory: Path) -> None:
        iteration = directory / ITERATION
        iteration.mkdir()
        with (iteration / DATA_FILE).open("wb") as stream:
            for block in plan.blocks:
                writer.add_tensor(stream, block, _assemble(block, index))
            writer.add_extra_states(stream, make_decoder_shape(config).num_layers)
        writer.write_index(iteration)
        (directory / TRACKER_FILE).write_text("0")

    write_directory(output, fill)
    return plan.num_bytes


def _list_megatron_tensors(index: TensorIndex, config: ModelConfig) -> dict[str, StoredTensor]:
    """Name, shape and dtype of every tensor that Megatron's GPTModel would have stored."""
    shape = make_decoder_shape(config)
    hidden = int(config.values["hidden_size"])
    query = shape.num_attention_heads * shape.head_dim
    qkv = query + 2 * shape.num_key_value_heads * shape.head_dim
    sizes = {
        "self_attention.linear_qkv.weight": (qkv, hidden),
        "self_attention.linear_qkv.bias": (qkv,),
        "self_attention.linear_qkv.layer_norm_weight": (hidden,),
        "self_attention.q_layernorm.weight": (shape.head_dim,),
        "self_attention.k_layernorm.weight": (shape.head_dim,),
        "self_attention.linear_proj.weight": (hidden, query),
        "mlp.linear_fc1.weight": (2 * shape.intermediate_size, hidden),
        "mlp.linear_fc1.layer_norm_weight": (hidden,),
        "mlp.linear_fc2.weight": (hidden, shape.intermediate_size),
    }
    probes = {
        "self_attention.linear_qkv.bias": "self_attn.q_proj.bias",
        "self_attention.q_layernorm.weight": "self_attn.q_norm.weight",
        "self_attention.k_layernorm.weight": "self_attn.k_norm.weight",
    }
    dtype = next(iter(index.tensors.values())).dtype
    outer = {
        "embedding.word_embeddings.weight": (shape.vocab_size, hidden),
        "decoder.final_layernorm.weight": (hidden,),
    }
    if not shape.is_tied:
        outer["output_layer.weight"] = (shape.vocab_size, hidden)
    layers = {
        f"decoder.layers.{name}": (shape.num_layers, *size)
        for name, size in sizes.items()
        if name not in probes or f"model.layers.0.{probes[name]}" in index.tensors
    }
    return {name: StoredTensor(name, size, dtype, ()) for name, size in (outer | layers).items()}


def _assemble(block: ExportedBlock, index: TensorIndex) -> Tensor:
    data = torch.empty(block.block_shape, dtype=block.dtype)
    for output in block.outputs:
        rows, position = read_block(index.tensors[output.name]), 0
        for start, stop in output.row_ranges:
            data[start:stop] = rows[position : position + stop - start]
            position += stop - start
    return data


@dataclass
class _Writer:
    """Collects where each piece went, for the index that DCP reads."""

    tensors: dict[str, StoredTensor]
    storage: dict[dcp.MetadataIndex, _StorageInfo] = field(default_factory=dict)
    chunks: dict[str, list[dcp.ChunkStorageMetadata]] = field(default_factory=dict)
    objects: list[str] = field(default_factory=list)

    def add_tensor(self, stream: IO[bytes], block: ExportedBlock, data: Tensor) -> None:
        name, is_layer = block.source.name, block.layer is not None
        offsets = (block.layer or 0, *(0,) * data.dim()) if is_layer else (0,) * data.dim()
        piece = data[None] if is_layer else data
        chunk = dcp.ChunkStorageMetadata(offsets=torch.Size(offsets), sizes=piece.shape)
        self.chunks.setdefault(name, []).append(chunk)
        self._add(stream, dcp.MetadataIndex(name, offsets), piece)

    def add_extra_states(self, stream: IO[bytes], num_layers: int) -> None:
        """Megatron's layers ask for an extra state; an empty one means no FP8 history."""
        for owner in EXTRA_STATE_OWNERS:
            for layer in range(num_layers):
                name = f"decoder.layers.{owner}._extra_state/shard_{layer}_{num_layers}"
                self.objects.append(name)
                self._add(stream, dcp.MetadataIndex(name), [None])

    def _add(self, stream: IO[bytes], key: dcp.MetadataIndex, value: object) -> None:
        archive = io.BytesIO()
        torch.save(value, archive)
        self.storage[key] = _StorageInfo(DATA_FILE, stream.tell(), archive.tell())
        stream.write(archive.getbuffer())

    def write_index(self, directory: Path) -> None:
        metadata = dcp.Metadata(
            state_dict_metadata=dict(self._describe()),
            storage_data=self.storage,
        )
        (directory / METADATA_FILE).write_bytes(pickle.dumps(metadata))
        arguments = argparse.Namespace(tensor_model_parallel_size=1, pipeline_model_parallel_size=1)
        common: dict[str, Any] = {"args": arguments, "iteration": 0, "checkpoint_version": 3.0}
        torch.save(common, directory / "common.pt")
        declared = {"sharded_backend": "torch_dist", "sharded_backend_version": 1}
        declared |= {"common_backend": "torch", "common_backend_version": 1}
        (directory / MEGATRON_METADATA_FILE).write_text(json.dumps(declared))

    def _describe(self) -> Iterator[tuple[str, dcp.STORAGE_TYPES]]:
        for name, chunks in self.chunks.items():
            tensor = self.tensors[name]
            properties = dcp.TensorProperties(dtype=tensor.dtype)
            size = torch.Size(tensor.shape)
            yield name, dcp.TensorStorageMetadata(properties, size, chunks)
        for name in self.objects:
            yield name, dcp.BytesStorageMetadata()
