"""Checkpoints of real FSDP2 x tensor parallel ranks, saved as NeMo-RL's DTensor workers do.

DTensor v1 wraps the state in ``{"model": ...}`` and saves it by DCP; v2 saves it flat, by DCP
or as sharded safetensors.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)
from transformers import AutoModelForCausalLM

from prorl_nemo.conversion.convert import ConversionOptions, convert_checkpoint
from tests.support.ranks import find_free_port, start_ranks
from tests.unit.conversion.tiny_model import assert_same_weights, make_tiny_model

NUM_RANKS = 4
FORMATS = {
    "v1 dcp": "policy/weights",
    "v2 dcp": "policy/weights/model",
    "v2 safetensors": "policy/weights/model",
}


def save_sharded(rank: int, port: int, model_directory: str, root: str) -> None:
    """Worker: the model on a 2 x 2 mesh (FSDP x TP), saved in every format."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=NUM_RANKS)
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    model: Any = AutoModelForCausalLM.from_pretrained(model_directory)
    plan = {
        "self_attn.q_proj": ColwiseParallel(),
        "self_attn.k_proj": ColwiseParallel(),
        "self_attn.v_proj": ColwiseParallel(),
        "self_attn.o_proj": RowwiseParallel(),
        "mlp.gate_proj": ColwiseParallel(),
        "mlp.up_proj": ColwiseParallel(),
        "mlp.down_proj": RowwiseParallel(),
    }
    for layer in model.model.layers:
        parallelize_module(layer, mesh["tp"], plan)
        fully_shard(layer, mesh=mesh["dp"])
    fully_shard(model, mesh=mesh["dp"])
    state = get_model_state_dict(model, options=StateDictOptions(cpu_offload=True))
    weight = state["model.layers.0.self_attn.q_proj.weight"]
    assert isinstance(weight, DTensor)
    assert weight.to_local().numel() * 4 == weight.numel()  # really sharded both ways
    places = {name: f"{root}/{name}/step_3/{place}" for name, place in FORMATS.items()}
    dcp.save({"model": state}, checkpoint_id=places["v1 dcp"])
    dcp.save(state, checkpoint_id=places["v2 dcp"])
    flat = {k: v for k, v in state.items() if k != "lm_head.weight" or not _is_tied(model)}
    writer = HuggingFaceStorageWriter(places["v2 safetensors"], save_distributed=True)
    dcp.save(flat, storage_writer=writer)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def _is_tied(model: Any) -> bool:
    return bool(model.config.tie_word_embeddings)


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("dtensor")
    is_tied = request.param == "qwen2"
    # 119 rows do not split evenly: shards of different sizes.
    model = make_tiny_model(
        request.param, root / "model", tie_word_embeddings=is_tied, vocab_size=119
    )
    arguments = (find_free_port(), str(root / "model"), str(root))
    start_ranks(save_sharded, *arguments, num_ranks=NUM_RANKS)
    for name in FORMATS:
        (root / name / "step_3" / "training_info.json").write_text('{"total_steps": 3}')
    return root, model


@pytest.mark.parametrize("name", FORMATS)
def test_sharded_weights_are_bit_identical(saved: Any, tmp_path: Path, name: str) -> None:
    root, model = saved
    options = ConversionOptions(model_config=root / "model", should_verify=True)
    result = convert_checkpoint(root / name, tmp_path / "out", options=options)
    assert_same_weights(tmp_path / "out", model)
    assert result.step == 3
    assert result.comparison is not None
    assert result.comparison.max_difference < 1e-5


@pytest.mark.parametrize("name", FORMATS)
def test_a_missing_shard_is_an_error(saved: Any, tmp_path: Path, name: str) -> None:
    root, _ = saved
    place = root / name / "step_3" / FORMATS[name]
    victim = sorted(place.glob("*.distcp")) + sorted(place.glob("*.safetensors"))
    hidden = victim[-1].rename(tmp_path / "hidden")
    try:
        options = ConversionOptions(model_config=root / "model")
        with pytest.raises(ValueError, match=r"missing|incomplete|has shape"):
            convert_checkpoint(root / name, tmp_path / "out", options=options)
    finally:
        hidden.rename(victim[-1])
    assert not (tmp_path / "out").exists()
