"""Hugging Face -> Megatron -> TP x PP checkpoint -> Hugging Face: the same bits and text.

The first step is this project's export, the middle is megatron-core: it loads the export
under the layout, computes logits and saves its own checkpoint.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

pytest.importorskip("megatron.core")
from prorl_nemo.conversion.convert import convert_checkpoint
from prorl_nemo.prompting import encode_prompt
from tests.functional.conversion.round_trip import (
    PROBLEMS,
    assert_same_bits,
    compute_transformers_logits,
    generate,
    load_weights,
    send_through_megatron,
)
from tests.unit.conversion.tiny_model import make_tiny_model

pytestmark = pytest.mark.megatron


def test_what_training_left_is_the_same_behind_megatron(
    whole_campaign: Path, tmp_path: Path
) -> None:
    """Weights that `prorl train` made, converted from its run directory, through TP2 x PP2."""
    model = tmp_path / "trained"
    convert_checkpoint(whole_campaign, model)
    assert_same_bits(whole_campaign / "checkpoints" / "step_000009" / "policy", model)
    before = load_weights(whole_campaign / "base")
    moved = [name for name, tensor in load_weights(model).items() if not tensor.equal(before[name])]
    assert len(moved) == len(before)  # every tensor is a trained one
    tokenizer = AutoTokenizer.from_pretrained(model)
    prompts = [encode_prompt(tokenizer, text) for text in PROBLEMS]
    ids = torch.tensor([prompts[0]])
    trip = send_through_megatron(model, tmp_path, tp=2, pp=2, input_ids=ids)
    assert len(list(trip.checkpoint.glob("*.distcp"))) >= 4
    assert_same_bits(model, trip.converted)
    expected = compute_transformers_logits(trip.converted, ids)
    difference = float((trip.megatron_logits - expected).abs().max())
    print(f"trained by prorl, TP2 x PP2: logits differ by {difference:.2e}")
    assert difference < 1e-5 * max(1.0, float(expected.abs().max()))
    assert generate(trip.converted, prompts, 24) == generate(model, prompts, 24)
    same_tokenizer = AutoTokenizer.from_pretrained(trip.converted)
    assert [encode_prompt(same_tokenizer, text) for text in PROBLEMS] == prompts


@pytest.mark.slow
def test_a_model_of_135_million_parameters_in_bfloat16(tmp_path: Path) -> None:
    """SmolLM2-135M's shape; 3 query groups allow TP3."""
    sizes = {
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "tie_word_embeddings": True,
        "rope_theta": 100000.0,
        "rms_norm_eps": 1e-5,
    }
    model = make_tiny_model("llama", tmp_path / "model", dtype=torch.bfloat16, **sizes)
    assert 134e6 < sum(p.numel() for p in model.parameters()) < 136e6
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"
    prompt = (torch.arange(12) * 1009 % 49152).tolist()
    trip = send_through_megatron(
        tmp_path / "model", tmp_path, tp=3, pp=2, input_ids=torch.tensor([prompt])
    )
    assert assert_same_bits(trip.model, trip.converted) == 272
    exact = compute_transformers_logits(trip.converted, trip.input_ids, "float32")
    rounded = compute_transformers_logits(trip.converted, trip.input_ids, "bfloat16")
    noise = float((rounded - exact).abs().mean())
    difference = float((trip.megatron_logits - exact).abs().mean())
    print(
        f"135M bf16, mean distance from float32 logits: {difference:.3f}, transformers {noise:.3f}"
    )
    assert difference < 1.5 * noise
    assert generate(trip.converted, [prompt], 8) == generate(trip.model, [prompt], 8)
