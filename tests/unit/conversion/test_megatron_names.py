from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from prorl_nemo.conversion.export_plan import check_plan
from prorl_nemo.conversion.megatron_names import DecoderShape, plan_megatron
from prorl_nemo.conversion.stored_tensor import StoredTensor, TensorIndex

WHERE = Path("checkpoint")
# 4 query heads in 2 groups, head size 1: a QKV block has rows q0 q1 k0 v0 q2 q3 k1 v1.
SHAPE = DecoderShape(
    num_layers=1,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=1,
    intermediate_size=3,
    vocab_size=5,
    is_tied=False,
)


def _plan(name: str, *sizes: int, shape: DecoderShape = SHAPE) -> dict[str, object]:
    stored = StoredTensor(name, sizes, torch.float32, ())
    plan = plan_megatron(TensorIndex({name: stored}), shape)
    return {o.name: (o.shape, o.row_ranges) for block in plan.blocks for o in block.outputs}


def test_qkv_rows_by_group() -> None:
    prefix = "model.layers.0.self_attn."
    assert _plan("decoder.layers.self_attention.linear_qkv.weight", 1, 8, 4) == {
        f"{prefix}q_proj.weight": ((4, 4), ((0, 2), (4, 6))),
        f"{prefix}k_proj.weight": ((2, 4), ((2, 3), (6, 7))),
        f"{prefix}v_proj.weight": ((2, 4), ((3, 4), (7, 8))),
    }


def test_qkv_bias_under_a_key_of_its_own_layer() -> None:
    planned = _plan("decoder.layers.3.self_attention.linear_qkv.bias", 8)
    assert planned["model.layers.3.self_attn.k_proj.bias"] == ((2,), ((2, 3), (6, 7)))


def test_gate_comes_before_up() -> None:
    assert _plan("decoder.layers.mlp.linear_fc1.weight", 1, 6, 4) == {
        "model.layers.0.mlp.gate_proj.weight": ((3, 4), ((0, 3),)),
        "model.layers.0.mlp.up_proj.weight": ((3, 4), ((3, 6),)),
    }


def test_rows_that_pad_the_vocabulary_are_cut() -> None:
    expected = {"model.embed_tokens.weight": ((5, 4), ((0, 5),))}
    assert _plan("embedding.word_embeddings.weight", 8, 4) == expected


def test_both_spellings_of_a_norm_give_the_same() -> None:
    fused = _plan("decoder.layers.mlp.linear_fc1.layer_norm_weight", 1, 4)
    assert fused == _plan("decoder.layers.pre_mlp_layernorm.weight", 1, 4)


def test_training_state_is_left_behind_with_a_reason() -> None:
    names = ("optimizer.state.exp_avg.decoder.x", "rng_state/shard_0_1", "chained_0.optimizer.p")
    tensors = {name: StoredTensor(name, (1,), torch.float32, ()) for name in names}
    extra = "decoder.layers.mlp.linear_fc1._extra_state/shard_0_1"
    plan = plan_megatron(TensorIndex(tensors, (extra,)), SHAPE)
    assert plan.blocks == ()
    assert plan.ignored.keys() == {*names, extra}
    assert "FP8" in plan.ignored[extra]


@pytest.mark.parametrize(
    "name", ["decoder.layers.mlp.router.weight", "mtp.layers.0.weight", "decoder.layers.mlp.odd"]
)
def test_an_unknown_tensor_is_an_error_that_names_it(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        _plan(name, 1, 4)


def test_rows_that_the_configuration_does_not_explain_are_an_error() -> None:
    with pytest.raises(ValueError, match="has 9 rows per layer; the model configuration needs 8"):
        _plan("decoder.layers.self_attention.linear_qkv.weight", 1, 9, 4)


def test_another_number_of_layers_is_an_error() -> None:
    with pytest.raises(ValueError, match="stacks 2 layers; the model configuration has 1"):
        _plan("decoder.layers.mlp.linear_fc1.weight", 2, 6, 4)


def test_a_tied_output_layer_is_compared_and_not_written() -> None:
    tied = dataclasses.replace(SHAPE, is_tied=True)
    stored = StoredTensor("output_layer.weight", (5, 4), torch.float32, ())
    plan = plan_megatron(TensorIndex({stored.name: stored}), tied)
    assert plan.blocks == ()
    assert plan.tied_copies[0].source is stored


def test_the_check_names_what_is_missing_left_over_or_of_another_shape() -> None:
    norm = StoredTensor("decoder.final_layernorm.weight", (4,), torch.float32, ())
    plan = plan_megatron(TensorIndex({norm.name: norm}), SHAPE)
    check_plan(plan, {"model.norm.weight": (4,)}, where=WHERE)
    with pytest.raises(
        ValueError,
        match=r"^checkpoint: incomplete: the checkpoint lacks 1 tensors: lm_head\.weight",
    ):
        check_plan(plan, {"model.norm.weight": (4,), "lm_head.weight": (5, 4)}, where=WHERE)
    with pytest.raises(
        ValueError, match=r"^checkpoint: left over: decoder\.final_layernorm\.weight"
    ):
        check_plan(plan, {}, where=WHERE)
    with pytest.raises(
        ValueError, match=r"^checkpoint: .* shape \[4\] in the checkpoint and \[6\]"
    ):
        check_plan(plan, {"model.norm.weight": (6,)}, where=WHERE)


def test_weights_in_eight_bits_are_refused() -> None:
    norm = StoredTensor("decoder.final_layernorm.weight", (4,), torch.float8_e4m3fn, ())
    plan = plan_megatron(TensorIndex({norm.name: norm}), SHAPE)
    with pytest.raises(ValueError, match=r"^checkpoint: .*quantized"):
        check_plan(plan, {"model.norm.weight": (4,)}, where=WHERE)
