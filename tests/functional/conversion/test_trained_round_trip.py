"""Hugging Face -> Megatron -> TP x PP checkpoint -> Hugging Face: the same bits and text.

The first step is this project's export, the middle is megatron-core: it loads the export
under the layout, computes logits and saves its own checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("megatron.core")
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from prorl_nemo.conversion.convert import ConversionOptions, convert_checkpoint
from prorl_nemo.conversion.megatron_export import ITERATION, export_to_megatron
from tests.functional.conversion.megatron_checkpoints import load_model, save_model
from tests.support.megatron_cpu import (
    MegatronShape,
    compute_logits,
    make_gpt_model,
    parallel_layout,
    run_megatron,
)
from tests.unit.conversion.tiny_model import assert_same_weights, make_tiny_model

pytestmark = [pytest.mark.megatron, pytest.mark.slow]
VERSE = "two-and-two-are-four/four-and-four-are-eight/eight-and-eight-are-sixteen/."
PROMPT = "two-and-two"


def reshard(rank: int, shape: MegatronShape, tp: int, pp: int, root: str, ids: Tensor) -> None:
    """Worker: loads the export under the layout, saves what it holds and its logits."""
    with parallel_layout(tp=tp, pp=pp):
        model = make_gpt_model(shape).eval()
        load_model(model, Path(root) / "export" / ITERATION)
        save_model(model, Path(root) / "megatron" / ITERATION)
        logits = compute_logits(model, ids)
        if logits is not None and rank == torch.distributed.get_world_size() - 1:
            torch.save(logits, Path(root) / "logits.pt")


def save_tokenizer(directory: Path) -> Any:
    letters = {letter: number for number, letter in enumerate(sorted(set(VERSE)))}
    tokenizer = Tokenizer(models.WordLevel(letters, unk_token="."))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=".")
    fast.save_pretrained(directory)
    return fast


def train_on_the_verse(model: Any, ids: Tensor, num_steps: int) -> float:
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(num_steps):
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return float(loss.detach())


def write_greedily(directory: Path) -> str:
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory)
    inputs = tokenizer(PROMPT, return_tensors="pt", return_token_type_ids=False)
    ids = model.generate(**inputs, max_new_tokens=30, do_sample=False)[0]
    return "".join(tokenizer.convert_ids_to_tokens(ids))


def test_a_trained_model_writes_the_same_text(tmp_path: Path) -> None:
    family, model_directory = "qwen2", tmp_path / "model"
    model = make_tiny_model(family, model_directory, tie_word_embeddings=True)
    tokenizer = save_tokenizer(model_directory)
    ids = tokenizer(VERSE, return_tensors="pt")["input_ids"]
    assert train_on_the_verse(model, ids, 150) < 0.2
    model.save_pretrained(model_directory)
    export_to_megatron(model_directory, tmp_path / "export")
    shape = MegatronShape(
        num_layers=2,
        hidden_size=32,
        ffn_hidden_size=48,
        head_dim=8,
        vocab_size=120,
        padded_vocab_size=128,
        add_qkv_bias=True,
        tied=True,
    )
    run_megatron(reshard, shape, 2, 2, str(tmp_path), ids, num_ranks=4)
    options = ConversionOptions(model_config=model_directory, should_verify=True)
    convert_checkpoint(tmp_path / "megatron", tmp_path / "out", options=options)
    assert_same_weights(tmp_path / "out", model)
    with torch.no_grad():
        expected = model(ids).logits
    difference = (torch.load(tmp_path / "logits.pt")[..., :120] - expected).abs().max()
    print(f"trained qwen2, TP2 x PP2: logits differ by {difference:.2e}")
    assert difference < 1e-5 * max(1.0, float(expected.abs().max()))
    text = write_greedily(tmp_path / "out")
    print(text)
    assert text == write_greedily(model_directory)
    assert text.startswith("two-and-two-are-four")


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
    export_to_megatron(tmp_path / "model", tmp_path / "export")
    shape = MegatronShape(
        num_layers=30,
        hidden_size=576,
        ffn_hidden_size=1536,
        num_attention_heads=9,
        num_query_groups=3,
        head_dim=64,
        vocab_size=49152,
        padded_vocab_size=49152,
        tied=True,
        rotary_base=100000.0,
        norm_eps=1e-5,
        dtype=torch.bfloat16,
    )
    ids = torch.arange(12)[None] * 1009 % 49152
    run_megatron(reshard, shape, 3, 2, str(tmp_path), ids, num_ranks=6)
    options = ConversionOptions(model_config=tmp_path / "model", should_verify=True)
    result = convert_checkpoint(tmp_path / "megatron", tmp_path / "out", options=options)
    assert_same_weights(tmp_path / "out", model)
    assert result.comparison is not None
    print(f"135M bf16, TP3 x PP2: logits in float32 differ by {result.comparison}")
    generated = [
        AutoModelForCausalLM.from_pretrained(tmp_path / name, dtype=torch.float32).generate(
            ids, max_new_tokens=8, do_sample=False
        )
        for name in ("model", "out")
    ]
    assert torch.equal(*generated)
