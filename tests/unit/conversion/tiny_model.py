"""Tiny random models of the supported families, and checkpoints of them for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from prorl_nemo.conversion.megatron_export import ITERATION, export_to_megatron

SIZES: dict[str, Any] = {
    "vocab_size": 120,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def make_tiny_model(family: str, directory: Path, **changes: Any) -> Any:
    """A random float32 model of ``family`` saved to ``directory``; norms are random too."""
    torch.manual_seed(sum(map(ord, family)))
    dtype = changes.pop("dtype", torch.float32)
    settings = AutoConfig.for_model(family, **{**SIZES, **changes})
    model = AutoModelForCausalLM.from_config(settings, dtype=dtype).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            center = 1.0 if "norm" in name else 0.0
            parameter.copy_(torch.randn_like(parameter) * 0.08 + center)
    model.save_pretrained(directory)
    return model


def make_megatron_checkpoint(root: Path, family: str = "llama", **changes: Any) -> Path:
    """A torch_dist iteration of a tiny model, with ``config.json`` beside the weights."""
    make_tiny_model(family, root / "model", **changes)
    export_to_megatron(root / "model", root / "megatron")
    iteration = root / "megatron" / ITERATION
    (iteration / "config.json").write_bytes((root / "model" / "config.json").read_bytes())
    return iteration


def assert_same_weights(directory: Path, model: Any) -> None:
    """Bit-identical tensors, the same names and dtypes, loaded by transformers."""
    converted = AutoModelForCausalLM.from_pretrained(directory).state_dict()
    expected = model.state_dict()
    assert converted.keys() == expected.keys()
    for name, value in converted.items():
        assert value.dtype == expected[name].dtype, name
        assert torch.equal(value, expected[name]), name
