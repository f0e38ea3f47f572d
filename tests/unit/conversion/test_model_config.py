from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from prorl_nemo.conversion.convert import ConversionOptions, convert_checkpoint
from prorl_nemo.conversion.megatron_export import ITERATION, export_to_megatron
from prorl_nemo.conversion.model_config import derive_from_provider
from tests.unit.conversion.tiny_model import assert_same_weights, make_tiny_model

# The model section of a run_config.yaml, as Megatron Bridge's providers serialize.
PROVIDER: dict[str, Any] = {
    "_target_": "megatron.bridge.models.qwen.qwen_provider.Qwen2ModelProvider",
    "activation_func": {"_call_": False, "_target_": "torch.nn.functional.silu"},
    "add_qkv_bias": True,
    "ffn_hidden_size": 48,
    "hidden_size": 32,
    "kv_channels": 8,
    "layernorm_epsilon": 1e-6,
    "num_attention_heads": 4,
    "num_layers": 2,
    "num_query_groups": 2,
    "rotary_base": 10000.0,
    "seq_length": 64,
    "share_embeddings_and_output_weights": True,
    "vocab_size": 120,
}
GENERIC = "megatron.bridge.models.gpt_provider.GPTModelProvider"


def test_an_iteration_converts_with_nothing_but_its_own_run_config(tmp_path: Path) -> None:
    model = make_tiny_model("qwen2", tmp_path / "model", tie_word_embeddings=True)
    export_to_megatron(tmp_path / "model", tmp_path / "megatron")
    iteration = tmp_path / "megatron" / ITERATION
    (iteration / "run_config.yaml").write_text(yaml.safe_dump({"model": PROVIDER}))
    options = ConversionOptions(should_verify=True)
    result = convert_checkpoint(iteration, tmp_path / "out", options=options)
    assert_same_weights(tmp_path / "out", model)
    assert result.comparison is not None
    assert result.comparison.is_greedy_equal
    assert result.tokenizer is None


@pytest.mark.parametrize(
    ("changes", "model_type"),
    [
        ({}, "qwen2"),
        ({"_target_": "x.Qwen3ModelProvider600M"}, "qwen3"),
        ({"_target_": "x.MistralModelProvider"}, "mistral"),
        ({"_target_": "x.Llama32ModelProvider1B"}, "llama"),
        ({"_target_": GENERIC}, "qwen2"),
        ({"_target_": GENERIC, "qk_layernorm": True, "add_qkv_bias": False}, "qwen3"),
        ({"_target_": GENERIC, "add_qkv_bias": False}, "llama"),
    ],
)
def test_family(changes: dict[str, Any], model_type: str) -> None:
    values = derive_from_provider({**PROVIDER, **changes}, Path("run_config.yaml"))
    assert values["model_type"] == model_type


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_layers": None}, "run_config.yaml: the model section lacks num_layers"),
        ({"num_moe_experts": 8}, "mixture-of-experts"),
        ({"rope_scaling": True}, "how RoPE is scaled"),
    ],
)
def test_what_cannot_be_derived_is_an_error(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        derive_from_provider({**PROVIDER, **changes}, Path("run_config.yaml"))
