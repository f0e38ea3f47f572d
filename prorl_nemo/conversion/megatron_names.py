"""Megatron's GPTModel parameters as rows of Hugging Face tensors.

Covers dense decoders that Hugging Face builds like Llama: Llama, Mistral, Qwen2, Qwen2.5 and
Qwen3; grouped queries, QKV bias, q and k norms, tied embeddings, padded vocabulary. Stored
layouts: layers stacked on dimension 0, or one key per layer; norms under Transformer
Engine's fused names or the local ones. A QKV block holds, for each query group, the rows of
its queries, then its key, then its value (megatron.core.transformer.attention).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from prorl_nemo.conversion.export_plan import (
    ExportedBlock,
    ExportPlan,
    RowRange,
    make_block,
)
from prorl_nemo.conversion.stored_tensor import StoredTensor, TensorIndex

Outputs = tuple[tuple[str, tuple[RowRange, ...]], ...]


@dataclass(frozen=True)
class DecoderShape:
    """Sizes of a dense decoder, as its Hugging Face configuration gives them."""

    num_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    is_tied: bool


IGNORED = (
    (re.compile(r"_extra_state"), "Transformer Engine's FP8 state: scales of training, no weights"),
    (re.compile(r"^(optimizer|chained_\d+)[./]"), "optimizer state"),
    (re.compile(r"^(rng_state|rerun_state_machine_state|opt_param_scheduler)"), "training state"),
    (re.compile(r"rotary_pos_emb\.inv_freq$"), "recomputed from the configuration"),
)
LAYER = re.compile(r"^decoder\.layers\.(?:(?P<layer>\d+)\.)?(?P<rest>[a-z].*)$")


def plan_megatron(index: TensorIndex, shape: DecoderShape) -> ExportPlan:
    """Which rows of which stored tensors make the Hugging Face model.

    Raises ValueError naming a stored tensor that this mapping doesn't know.
    """
    blocks: list[ExportedBlock] = []
    tied_copies: list[ExportedBlock] = []
    ignored: dict[str, str] = {}
    for name in index.objects:
        ignored[name] = _reason_to_ignore(name) or "not a tensor"
    for stored in index.tensors.values():
        if reason := _reason_to_ignore(stored.name):
            ignored[stored.name] = reason
        elif stored.name == "output_layer.weight" and shape.is_tied:
            tied_copies.append(_export_outer(stored, shape))
        elif match := LAYER.match(stored.name):
            blocks.extend(_export_layers(stored, match, shape))
        else:
            blocks.append(_export_outer(stored, shape))
    return ExportPlan(tuple(blocks), ignored, tuple(tied_copies))


def _reason_to_ignore(name: str) -> str | None:
    return next((reason for pattern, reason in IGNORED if pattern.search(name)), None)


def _export_outer(stored: StoredTensor, shape: DecoderShape) -> ExportedBlock:
    """Embedding and output layer lose the rows that pad the vocabulary."""
    vocabulary = {
        "embedding.word_embeddings.weight": "model.embed_tokens.weight",
        "output_layer.weight": "lm_head.weight",
    }
    if stored.name in vocabulary:
        num_rows = min(shape.vocab_size, stored.shape[0])
        return make_block(stored, None, ((vocabulary[stored.name], ((0, num_rows),)),))
    if stored.name in ("decoder.final_layernorm.weight", "decoder.final_norm.weight"):
        return make_block(stored, None, (("model.norm.weight", ((0, stored.shape[0]),)),))
    raise ValueError(f"{_where(stored)}: {stored.name} is unknown: not a supported dense decoder")


def _export_layers(
    stored: StoredTensor, match: re.Match[str], shape: DecoderShape
) -> list[ExportedBlock]:
    rule = RULES.get(match["rest"])
    if rule is None:
        raise ValueError(
            f"{_where(stored)}: {stored.name} is unknown: not a supported dense decoder"
        )
    if match["layer"] is not None:
        layers: list[tuple[int, int | None]] = [(int(match["layer"]), None)]
        num_rows = stored.shape[0]
    else:
        if stored.shape[0] != shape.num_layers:
            raise ValueError(
                f"{_where(stored)}: {stored.name} stacks {stored.shape[0]} layers; "
                f"the model configuration has {shape.num_layers}"
            )
        layers = [(layer, layer) for layer in range(shape.num_layers)]
        num_rows = stored.shape[1]
    outputs = rule(shape, num_rows)
    num_used = sum(stop - start for _, ranges in outputs for start, stop in ranges)
    if num_used != num_rows:
        raise ValueError(
            f"{_where(stored)}: {stored.name} has {num_rows} rows per layer; "
            f"the model configuration needs {num_used}"
        )
    return [
        make_block(stored, position, _name_outputs(outputs, layer)) for layer, position in layers
    ]


def _where(stored: StoredTensor) -> str:
    return str(stored.chunks[0].path.parent) if stored.chunks else "the checkpoint"


def _name_outputs(outputs: Outputs, layer: int) -> Outputs:
    return tuple((f"model.layers.{layer}.{name}", ranges) for name, ranges in outputs)


def _split_qkv(shape: DecoderShape, kind: str) -> Outputs:
    groups, head = shape.num_key_value_heads, shape.head_dim
    query = shape.num_attention_heads // groups * head
    stride = query + 2 * head
    parts = (("q", 0, query), ("k", query, query + head), ("v", query + head, stride))
    return tuple(
        (
            f"self_attn.{part}_proj.{kind}",
            tuple((group * stride + start, group * stride + stop) for group in range(groups)),
        )
        for part, start, stop in parts
    )


def _split_gate_up(shape: DecoderShape, kind: str) -> Outputs:
    size = shape.intermediate_size
    return (
        (f"mlp.gate_proj.{kind}", ((0, size),)),
        (f"mlp.up_proj.{kind}", ((size, 2 * size),)),
    )


def _whole(name: str) -> Callable[[DecoderShape, int], Outputs]:
    return lambda _, num_rows: ((name, ((0, num_rows),)),)


RULES: dict[str, Callable[[DecoderShape, int], Outputs]] = {
    "self_attention.linear_qkv.weight": lambda shape, _: _split_qkv(shape, "weight"),
    "self_attention.linear_qkv.bias": lambda shape, _: _split_qkv(shape, "bias"),
    "mlp.linear_fc1.weight": lambda shape, _: _split_gate_up(shape, "weight"),
    "mlp.linear_fc1.bias": lambda shape, _: _split_gate_up(shape, "bias"),
    "mlp.linear_fc1.weight_w": _whole("mlp.gate_proj.weight"),
    "mlp.linear_fc1.weight_v": _whole("mlp.up_proj.weight"),
    "self_attention.linear_qkv.layer_norm_weight": _whole("input_layernorm.weight"),
    "input_layernorm.weight": _whole("input_layernorm.weight"),
    "mlp.linear_fc1.layer_norm_weight": _whole("post_attention_layernorm.weight"),
    "pre_mlp_layernorm.weight": _whole("post_attention_layernorm.weight"),
    "self_attention.q_layernorm.weight": _whole("self_attn.q_norm.weight"),
    "self_attention.k_layernorm.weight": _whole("self_attn.k_norm.weight"),
    "self_attention.linear_proj.weight": _whole("self_attn.o_proj.weight"),
    "self_attention.linear_proj.bias": _whole("self_attn.o_proj.bias"),
    "mlp.linear_fc2.weight": _whole("mlp.down_proj.weight"),
    "mlp.linear_fc2.bias": _whole("mlp.down_proj.bias"),
}
