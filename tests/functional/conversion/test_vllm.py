"""vLLM loads what the converter writes and continues a prompt as transformers does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from prorl_nemo.conversion.convert import ConversionOptions, convert_checkpoint
from tests.unit.conversion.tiny_model import make_megatron_checkpoint

pytestmark = [pytest.mark.vllm, pytest.mark.slow]
PROMPT = [5, 17, 99, 4, 60, 23]
NUM_NEW = 12


def test_same_greedy_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vllm = pytest.importorskip("vllm")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    # head_dim is hidden_size / heads: vLLM's Qwen2 ignores any other value of it.
    sizes = {"hidden_size": 128, "head_dim": 32, "num_attention_heads": 4, "vocab_size": 128}
    iteration = make_megatron_checkpoint(tmp_path, "qwen2", tie_word_embeddings=True, **sizes)
    options = ConversionOptions(max_shard_bytes=300_000)
    convert_checkpoint(iteration, tmp_path / "out", options=options)
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 1
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = torch.tensor([PROMPT])
    expected = model.generate(
        ids, max_new_tokens=NUM_NEW, min_new_tokens=NUM_NEW, do_sample=False, eos_token_id=None
    )[0, len(PROMPT) :]
    engine = vllm.LLM(
        model=str(tmp_path / "out"),
        skip_tokenizer_init=True,
        dtype="float32",
        enforce_eager=True,
        max_model_len=64,
        max_num_seqs=2,
    )
    sampling = vllm.SamplingParams(
        temperature=0.0, max_tokens=NUM_NEW, ignore_eos=True, detokenize=False
    )
    output = engine.generate([{"prompt_token_ids": PROMPT}], sampling)[0].outputs[0]
    assert list(output.token_ids) == expected.tolist()
