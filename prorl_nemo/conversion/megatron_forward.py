"""The forward pass of a dense decoder straight on Megatron's stored weights, in float32.

It is written from Megatron's layout (fused QKV by query group, fused gate and up), not from
the converter's mapping, so that agreement between the two means something. One layer of
weights is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from prorl_nemo.conversion.megatron_names import DecoderShape
from prorl_nemo.conversion.second_reader import load_float32
from prorl_nemo.conversion.stored_tensor import StoredTensor

NORM_NAMES = {
    "input": ("self_attention.linear_qkv.layer_norm_weight", "input_layernorm.weight"),
    "mlp": ("mlp.linear_fc1.layer_norm_weight", "pre_mlp_layernorm.weight"),
}


def compute_megatron_logits(
    tensors: Mapping[str, StoredTensor],
    shape: DecoderShape,
    input_ids: Tensor,  # [S]
    *,
    rope: tuple[Tensor, Tensor],  # cos and sin, [S, head_dim] each
    norm_eps: float,
) -> Tensor:
    """Logits [S, vocab_size] of one sequence. RoPE angles carry no weights and are given."""
    embedding = load_float32(tensors["embedding.word_embeddings.weight"])
    hidden = embedding[input_ids]
    if not shape.is_tied:
        del embedding
    for number in range(shape.num_layers):
        layer = _Layer(tensors, number)
        attention_input = _rms_norm(hidden, layer.load(*NORM_NAMES["input"]), norm_eps)
        hidden = hidden + _attend(layer, attention_input, shape, rope=rope, norm_eps=norm_eps)
        mlp_input = _rms_norm(hidden, layer.load(*NORM_NAMES["mlp"]), norm_eps)
        hidden = hidden + _feed_forward(layer, mlp_input)
    hidden = _rms_norm(hidden, load_float32(tensors["decoder.final_layernorm.weight"]), norm_eps)
    output = embedding if shape.is_tied else load_float32(tensors["output_layer.weight"])
    return hidden @ output[: shape.vocab_size].T


class _Layer:
    """Loads the weights of one layer, stacked or under keys of its own."""

    def __init__(self, tensors: Mapping[str, StoredTensor], number: int) -> None:
        self.tensors, self.number = tensors, number

    def find(self, *names: str) -> Tensor | None:
        for name in names:
            if (stacked := self.tensors.get(f"decoder.layers.{name}")) is not None:
                return load_float32(stacked, self.number)
            if (single := self.tensors.get(f"decoder.layers.{self.number}.{name}")) is not None:
                return load_float32(single)
        return None

    def load(self, *names: str) -> Tensor:
        found = self.find(*names)
        assert found is not None, names  # the plan was checked
        return found


def _rms_norm(hidden: Tensor, weight: Tensor, eps: float) -> Tensor:
    return F.rms_norm(hidden, weight.shape, weight, eps)


def _attend(
    layer: _Layer,
    hidden: Tensor,  # [S, H]
    shape: DecoderShape,
    *,
    rope: tuple[Tensor, Tensor],
    norm_eps: float,
) -> Tensor:
    weight = layer.load("self_attention.linear_qkv.weight")
    fused = F.linear(hidden, weight, layer.find("self_attention.linear_qkv.bias"))
    groups = shape.num_key_value_heads
    fused = fused.view(len(hidden), groups, -1, shape.head_dim)  # [S, groups, queries + 2, D]
    query, key, value = fused[:, :, :-2], fused[:, :, -2:-1], fused[:, :, -1:]
    query_norm = layer.find("self_attention.q_layernorm.weight")
    key_norm = layer.find("self_attention.k_layernorm.weight")
    if query_norm is not None and key_norm is not None:
        query, key = _rms_norm(query, query_norm, norm_eps), _rms_norm(key, key_norm, norm_eps)
    query, key = _rotate(query, rope), _rotate(key, rope)
    scores = torch.einsum("sgqd,tgkd->gqst", query, key) / shape.head_dim**0.5
    length = len(hidden)
    is_future = torch.ones(length, length, dtype=torch.bool).triu(1)
    weights = scores.masked_fill(is_future, -torch.inf).softmax(dim=-1)
    mixed = torch.einsum("gqst,tgkd->sgqd", weights, value).reshape(length, -1)
    projection = layer.load("self_attention.linear_proj.weight")
    return F.linear(mixed, projection, layer.find("self_attention.linear_proj.bias"))


def _rotate(states: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = (angles[:, None, None, :] for angles in rope)
    first, second = states.chunk(2, dim=-1)
    return states * cos + torch.cat([-second, first], dim=-1) * sin


def _feed_forward(layer: _Layer, hidden: Tensor) -> Tensor:
    fused = layer.find("mlp.linear_fc1.weight")
    if fused is None:
        gate, up = layer.load("mlp.linear_fc1.weight_w"), layer.load("mlp.linear_fc1.weight_v")
        fused = torch.cat([gate, up])
    states = F.linear(hidden, fused, layer.find("mlp.linear_fc1.bias"))
    gate, up = states.chunk(2, dim=-1)
    projection = layer.load("mlp.linear_fc2.weight")
    return F.linear(F.silu(gate) * up, projection, layer.find("mlp.linear_fc2.bias"))
