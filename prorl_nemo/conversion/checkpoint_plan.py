"""From a located checkpoint to a checked plan: the only place that tells formats apart."""

from __future__ import annotations

from pathlib import Path

import torch

from prorl_nemo.conversion.block_reader import read_block
from prorl_nemo.conversion.dcp_index import read_dcp_index
from prorl_nemo.conversion.export_plan import ExportPlan, check_plan, plan_identity
from prorl_nemo.conversion.locate import CheckpointSource
from prorl_nemo.conversion.megatron_names import plan_megatron
from prorl_nemo.conversion.model_config import (
    ModelConfig,
    list_expected_tensors,
    make_decoder_shape,
)
from prorl_nemo.conversion.safetensors_index import read_safetensors_index
from prorl_nemo.conversion.stored_tensor import TensorIndex


def read_index(source: CheckpointSource) -> TensorIndex:
    """The tensor index of ``source``, whatever its format."""
    if source.kind == "dcp":
        return read_dcp_index(source.weights)
    return read_safetensors_index(source.weights)


def is_megatron(index: TensorIndex) -> bool:
    return any(name.startswith(("decoder.", "embedding.")) for name in index.tensors)


def make_plan(index: TensorIndex, config: ModelConfig, *, where: Path) -> ExportPlan:
    """The checked plan; raises ValueError, naming ``where``, when it doesn't fit the model."""
    expected = list_expected_tensors(config)
    if is_megatron(index):
        plan = plan_megatron(index, make_decoder_shape(config))
    else:
        is_wrapped = all(name.startswith("model.") for name in index.tensors)
        is_wrapped = is_wrapped and any(n.startswith("model.model.") for n in index.tensors)
        plan = plan_identity(index, expected, prefix="model." if is_wrapped else "")
    check_plan(plan, expected, where=where)
    return plan


def describe_layout(index: TensorIndex, source: CheckpointSource) -> str:
    if is_megatron(index):
        return "Megatron torch_dist"
    return "DTensor DCP" if source.kind == "dcp" else "safetensors"


def check_tied_copies(plan: ExportPlan) -> None:
    """A stored copy of the tied embedding must be the embedding."""
    embeddings = [b for b in plan.blocks if b.outputs[0].name == "model.embed_tokens.weight"]
    for copy in plan.tied_copies:
        rows = copy.outputs[0].shape[0]
        kept = read_block(embeddings[0].source)
        if not torch.equal(read_block(copy.source)[:rows], kept[:rows]):
            raise ValueError(
                f"{copy.source.chunks[0].path}: {copy.source.name} differs from the embedding, "
                "but the model ties them"
            )
