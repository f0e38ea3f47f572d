"""A Hugging Face model through real Megatron ranks and back, and what must be the same.

    python -m tests.functional.conversion.round_trip MODEL WORK [--tp 2] [--pp 2] [--prompt TEXT]

MODEL is exported to Megatron; megatron-core loads it on TP x PP ranks over gloo, computes
logits and saves a torch_dist checkpoint of its own; `prorl convert` makes WORK/out of that.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from prorl_nemo.cli import main as prorl
from prorl_nemo.conversion.megatron_export import ITERATION, export_to_megatron
from prorl_nemo.prompting import encode_prompt
from tests.functional.conversion.megatron_checkpoints import load_model, save_model
from tests.support.megatron_cpu import (
    MegatronShape,
    compute_logits,
    make_gpt_model,
    parallel_layout,
    run_megatron,
)

VOCABULARY_MULTIPLE = 128
PROBLEMS = (
    "Spell this word backward (example: sun -> nus): yule",
    "Find the Greatest Common Divisor (GCD) of these numbers: 6, 4. "
    "Give only the GCD as your final answer.",
)


@dataclass(frozen=True)
class RoundTrip:
    """Where the pieces are, and Megatron's own logits [1, S, V] for ``input_ids`` [1, S]."""

    model: Path
    converted: Path
    checkpoint: Path
    input_ids: Tensor
    megatron_logits: Tensor


def send_through_megatron(
    model: Path, work: Path, *, tp: int, pp: int, input_ids: Tensor
) -> RoundTrip:
    export_to_megatron(model, work / "export")
    shape = read_shape(model)
    run_megatron(reshard, shape, tp, pp, str(work), input_ids, num_ranks=tp * pp)
    out, checkpoint = work / "out", work / "megatron"
    command = ["convert", str(checkpoint), str(out), "--model-config", str(model), "--verify"]
    assert prorl(command) == 0
    logits = torch.load(work / "logits.pt")[..., : shape.vocab_size]
    return RoundTrip(model, out, checkpoint / ITERATION, input_ids, logits)


def reshard(rank: int, shape: MegatronShape, tp: int, pp: int, work: str, ids: Tensor) -> None:
    """Worker: loads the export under the layout, saves what it holds and its logits."""
    with parallel_layout(tp=tp, pp=pp):
        model = make_gpt_model(shape).eval()
        load_model(model, Path(work) / "export" / ITERATION)
        save_model(model, Path(work) / "megatron" / ITERATION)
        logits = compute_logits(model, ids)
        if logits is not None and rank == torch.distributed.get_world_size() - 1:
            torch.save(logits, Path(work) / "logits.pt")


def read_shape(model: Path) -> MegatronShape:
    """Megatron's arguments for a Qwen2 or Llama, from ``config.json`` and nothing of ours."""
    config: dict[str, Any] = json.loads((model / "config.json").read_text())
    heads, vocab_size = config["num_attention_heads"], config["vocab_size"]
    rope = config.get("rope_parameters") or config
    dtype = config.get("dtype") or config.get("torch_dtype")
    return MegatronShape(
        num_layers=config["num_hidden_layers"],
        hidden_size=config["hidden_size"],
        ffn_hidden_size=config["intermediate_size"],
        num_attention_heads=heads,
        num_query_groups=config["num_key_value_heads"],
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        vocab_size=vocab_size,
        padded_vocab_size=-(-vocab_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE,
        add_qkv_bias=config["model_type"] == "qwen2",
        tied=config["tie_word_embeddings"],
        rotary_base=rope["rope_theta"],
        norm_eps=config["rms_norm_eps"],
        dtype=getattr(torch, dtype),
    )


def load_weights(directory: Path) -> dict[str, Tensor]:
    shards = [load_file(path) for path in sorted(directory.glob("*model*.safetensors"))]
    return {name: tensor for shard in shards for name, tensor in shard.items()}


def assert_same_bits(left: Path, right: Path) -> int:
    """The same names, dtypes, shapes and bytes; returns the number of tensors."""
    expected, actual = load_weights(left), load_weights(right)
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert actual[name].dtype == tensor.dtype, name
        assert actual[name].shape == tensor.shape, name
        assert torch.equal(actual[name].view(torch.uint8), tensor.view(torch.uint8)), name
    return len(expected)


def compute_transformers_logits(directory: Path, input_ids: Tensor, dtype: str = "auto") -> Tensor:
    """Logits [1, S, V] in float32, computed in ``dtype`` (auto: the weights' own)."""
    model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype)
    with torch.no_grad():
        return model(input_ids).logits.float()  # type: ignore[no-any-return]


def generate(directory: Path, prompts: list[list[int]], max_new_tokens: int) -> list[list[int]]:
    """Greedy continuations by transformers."""
    model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype="auto")
    return [
        model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=max_new_tokens)[
            0, len(ids) :
        ].tolist()
        for ids in prompts
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("work", type=Path, help="a new directory for everything in between")
    parser.add_argument("--tp", type=int, default=2)
    parser.add_argument("--pp", type=int, default=2)
    parser.add_argument("--prompt", action="append", help="may be given several times")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    prompts = [encode_prompt(tokenizer, text) for text in args.prompt or PROBLEMS]
    ids = torch.tensor([prompts[0]])
    trip = send_through_megatron(args.model, args.work, tp=args.tp, pp=args.pp, input_ids=ids)
    print(f"{assert_same_bits(trip.model, trip.converted)} tensors: the same bits")
    expected = compute_transformers_logits(trip.converted, ids)
    difference = float((trip.megatron_logits - expected).abs().max())
    print(f"logits, Megatron against transformers: {difference:.2e} of {expected.abs().max():.2f}")
    before, after = (generate(path, prompts, 16) for path in (trip.model, trip.converted))
    assert before == after
    for prompt, continuation in zip(prompts, after, strict=True):
        print(f"the same text: {tokenizer.decode(prompt)!r} -> {tokenizer.decode(continuation)!r}")


if __name__ == "__main__":
    main()
