"""Whole conversions of tiny checkpoints; the layouts of real Megatron are in tests/functional."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.distributed import checkpoint as dcp

from prorl_nemo.atomic_directory import verify_directory
from prorl_nemo.conversion.convert import ConversionOptions, convert_checkpoint
from prorl_nemo.conversion.megatron_export import export_to_megatron
from tests.unit.conversion.tiny_model import (
    assert_same_weights,
    make_megatron_checkpoint,
    make_tiny_model,
)

VERIFY = ConversionOptions(should_verify=True)


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("is_tied", [True, False])
def test_to_megatron_and_back(tmp_path: Path, family: str, is_tied: bool) -> None:
    model = make_tiny_model(family, tmp_path / "model", tie_word_embeddings=is_tied)
    export_to_megatron(tmp_path / "model", tmp_path / "megatron")
    options = ConversionOptions(model_config=tmp_path / "model", should_verify=True)
    result = convert_checkpoint(tmp_path / "megatron", tmp_path / "out", options=options)
    assert_same_weights(tmp_path / "out", model)
    assert result.comparison is not None
    assert result.comparison.max_difference < 1e-5
    assert result.comparison.is_greedy_equal
    assert result.num_tensors == len(load_file(tmp_path / "out" / "model.safetensors"))


def test_bfloat16_keeps_its_bits(tmp_path: Path) -> None:
    iteration = make_megatron_checkpoint(tmp_path, "qwen2", dtype=torch.bfloat16)
    convert_checkpoint(iteration, tmp_path / "out")
    source = load_file(tmp_path / "model" / "model.safetensors")
    for name, value in load_file(tmp_path / "out" / "model.safetensors").items():
        assert value.dtype == torch.bfloat16
        assert torch.equal(value.view(torch.int16), source[name].view(torch.int16))


def test_llama_3_rope_scaling_survives(tmp_path: Path) -> None:
    scaling = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    }
    iteration = make_megatron_checkpoint(tmp_path, "llama", rope_parameters=scaling)
    result = convert_checkpoint(iteration, tmp_path / "out", options=VERIFY)
    assert result.comparison is not None
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert written["rope_parameters"]["rope_type"] == "llama3"


def test_the_output_is_sharded_hashed_and_accounted_for(tmp_path: Path) -> None:
    iteration = make_megatron_checkpoint(tmp_path)
    seen: list[tuple[int, int]] = []
    options = ConversionOptions(max_shard_bytes=20_000)
    result = convert_checkpoint(
        iteration,
        tmp_path / "out",
        options=options,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (result.num_bytes, result.num_bytes)
    assert seen == sorted(seen)
    assert verify_directory(tmp_path / "out") == result.manifest_sha256
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 2
    assert index["metadata"]["total_size"] == result.num_bytes
    record = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert {row["name"] for row in record["tensors"]} == set(index["weight_map"])
    sources = {row["name"]: row["source"] for row in record["tensors"]}
    assert sources["model.layers.1.mlp.up_proj.weight"] == "decoder.layers.mlp.linear_fc1.weight[1]"
    assert result.ignored == {"Transformer Engine's FP8 state: scales of training, no weights": 8}


def test_dtensor_v1_wraps_names_and_stores_the_tied_head_twice(tmp_path: Path) -> None:
    model = make_tiny_model("qwen2", tmp_path / "model", tie_word_embeddings=True)
    state = {"model": {**model.state_dict()}}
    assert "lm_head.weight" in state["model"]
    dcp.save(state, checkpoint_id=tmp_path / "weights", no_dist=True)
    options = ConversionOptions(model_config=tmp_path / "model", should_verify=True)
    result = convert_checkpoint(tmp_path / "weights", tmp_path / "out", options=options)
    assert_same_weights(tmp_path / "out", model)
    assert result.layout == "DTensor DCP"


def test_a_tied_head_that_differs_is_refused(tmp_path: Path) -> None:
    model = make_tiny_model("qwen2", tmp_path / "model", tie_word_embeddings=True)
    state = {**model.state_dict()}
    state["lm_head.weight"] = state["lm_head.weight"] + 1
    dcp.save(state, checkpoint_id=tmp_path / "weights", no_dist=True)
    options = ConversionOptions(model_config=tmp_path / "model")
    with pytest.raises(ValueError, match=r"lm_head\.weight differs from the embedding"):
        convert_checkpoint(tmp_path / "weights", tmp_path / "out", options=options)


def test_a_hugging_face_directory_is_rewritten(tmp_path: Path) -> None:
    model = make_tiny_model("llama", tmp_path / "model")
    result = convert_checkpoint(tmp_path / "model", tmp_path / "out", options=VERIFY)
    assert_same_weights(tmp_path / "out", model)
    assert result.layout == "safetensors"


def test_verification_sees_a_wrong_configuration(tmp_path: Path) -> None:
    """The shapes agree and the meaning doesn't: only logits can tell."""
    model = make_tiny_model("llama", tmp_path / "model")
    tensors = {k: v.clone() for k, v in model.state_dict().items()}
    export_to_megatron(tmp_path / "model", tmp_path / "megatron")
    from prorl_nemo.conversion import verify
    from prorl_nemo.conversion.checkpoint_plan import read_index
    from prorl_nemo.conversion.locate import locate_checkpoint
    from prorl_nemo.conversion.model_config import find_model_config

    source = locate_checkpoint(tmp_path / "megatron")
    config = find_model_config(source, tmp_path / "model")
    name = "model.layers.1.self_attn.k_proj.weight"
    tensors[name] = tensors[name].flip(0)
    save_file(tensors, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"iter_0000000: logits of the converted model differ"):
        verify.compare_logits(read_index(source), config, tmp_path / "model", where=source.weights)
