"""Runs the real megatron-core on a CPU over gloo, for tests only.

It changes no arithmetic: it points "the current CUDA device" at the CPU and gives Megatron's
random-state tracker a CPU generator. Product code never imports it. Needs ``psutil``, or
Megatron's checkpoint writers hang.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tests.support.ranks import find_free_port, start_ranks


class CudaOnCpu(TorchFunctionMode):
    """Rewrites ``device="cuda"`` and ``.cuda()`` to the CPU."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.cuda:
            return args[0]
        if "cuda" in str(kwargs.get("device", "")):
            kwargs["device"] = "cpu"
        args = tuple("cpu" if isinstance(a, str) and a.startswith("cuda") else a for a in args)
        return func(*args, **kwargs)


@contextlib.contextmanager
def cuda_calls_on_cpu() -> Iterator[None]:
    """Makes Megatron's unconditional CUDA calls serve on a CPU while it is open."""
    cuda: Any = torch.cuda
    replacements: dict[str, Any] = {
        "current_device": lambda: torch.device("cpu"),
        "synchronize": lambda *_: None,
        "get_rng_state": lambda *_: torch.get_rng_state(),
        "manual_seed": torch.manual_seed,
    }
    saved = {name: getattr(cuda, name) for name in replacements}
    for name, replacement in replacements.items():
        setattr(cuda, name, replacement)
    from megatron.core.tensor_parallel import random as megatron_random

    accessors = megatron_random._get_cuda_rng_state, megatron_random._set_cuda_rng_state
    megatron_random._get_cuda_rng_state = lambda *_, **__: torch.get_rng_state()
    megatron_random._set_cuda_rng_state = lambda state, *_, **__: torch.set_rng_state(state)
    try:
        with CudaOnCpu():
            yield
    finally:
        megatron_random._get_cuda_rng_state, megatron_random._set_cuda_rng_state = accessors
        for name, original in saved.items():
            setattr(cuda, name, original)


def _enter_rank(rank: int, num_ranks: int, port: int, worker: Any, args: Any) -> None:
    """Body of one spawned process: process group and shim, then the worker."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    _start_results_queue()
    torch.distributed.init_process_group("gloo", rank=rank, world_size=num_ranks)
    with cuda_calls_on_cpu():
        worker(rank, *args)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def _start_results_queue() -> None:
    """The queue of Megatron's checkpoint writers in a fork, where torch is imported already.

    Left alone it starts a fresh process, which imports torch for some seconds in every rank.
    """
    from megatron.core.dist_checkpointing.strategies import filesystem_async

    filesystem_async._results_queue = torch.multiprocessing.get_context("fork").Manager().Queue()


def run_megatron(worker: Callable[..., None], *args: Any, num_ranks: int) -> None:
    """Starts gloo ranks and calls ``worker(rank, *args)`` in each; ``worker`` is importable."""
    start_ranks(_enter_rank, num_ranks, find_free_port(), worker, args, num_ranks=num_ranks)


@contextlib.contextmanager
def parallel_layout(*, tp: int, pp: int) -> Iterator[None]:
    """Megatron's parallel state inside a rank; the ranks left over are data parallel."""
    from megatron.core import parallel_state
    from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed

    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=tp, pipeline_model_parallel_size=pp
    )
    model_parallel_cuda_manual_seed(1234, force_reset_rng=True)
    yield
    torch.distributed.barrier()
    parallel_state.destroy_model_parallel()


@dataclass(frozen=True)
class MegatronShape:
    """What a dense decoder needs beyond Megatron's defaults; sizes as Hugging Face counts them."""

    num_layers: int = 4
    hidden_size: int = 64
    ffn_hidden_size: int = 96
    num_attention_heads: int = 4
    num_query_groups: int = 2
    head_dim: int = 16
    vocab_size: int = 128
    padded_vocab_size: int = 128
    add_qkv_bias: bool = False
    qk_layernorm: bool = False
    tied: bool = False
    rotary_base: float = 10000.0
    norm_eps: float = 1e-6
    max_positions: int = 64
    dtype: torch.dtype = torch.float32


def make_gpt_model(shape: MegatronShape) -> torch.nn.Module:
    """The GPTModel of this rank under the current parallel state, local layer spec, on the CPU."""
    from megatron.core import parallel_state
    from megatron.core.models.gpt import GPTModel
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec

    model = GPTModel(
        config=make_transformer_config(shape),
        transformer_layer_spec=get_gpt_layer_local_spec(
            qk_layernorm=shape.qk_layernorm, normalization="RMSNorm"
        ),
        vocab_size=shape.padded_vocab_size,
        max_sequence_length=shape.max_positions,
        pre_process=parallel_state.is_pipeline_first_stage(),
        post_process=parallel_state.is_pipeline_last_stage(),
        share_embeddings_and_output_weights=shape.tied,
        position_embedding_type="rope",
        rotary_base=shape.rotary_base,
        parallel_output=False,
    )
    return model.to(shape.dtype)


def make_transformer_config(shape: MegatronShape) -> Any:
    from megatron.core import parallel_state
    from megatron.core.transformer import TransformerConfig

    return TransformerConfig(
        num_layers=shape.num_layers,
        hidden_size=shape.hidden_size,
        ffn_hidden_size=shape.ffn_hidden_size,
        num_attention_heads=shape.num_attention_heads,
        num_query_groups=shape.num_query_groups,
        kv_channels=shape.head_dim,
        add_qkv_bias=shape.add_qkv_bias,
        qk_layernorm=shape.qk_layernorm,
        layernorm_epsilon=shape.norm_eps,
        normalization="RMSNorm",
        gated_linear_unit=True,
        activation_func=torch.nn.functional.silu,
        add_bias_linear=False,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        params_dtype=shape.dtype,
        pipeline_dtype=shape.dtype,
        bf16=shape.dtype == torch.bfloat16,
        use_cpu_initialization=True,
        persist_layer_norm=False,
        bias_activation_fusion=False,
        bias_dropout_fusion=False,
        masked_softmax_fusion=False,
        apply_rope_fusion=False,
        gradient_accumulation_fusion=False,
        batch_p2p_sync=False,
        tensor_model_parallel_size=parallel_state.get_tensor_model_parallel_world_size(),
        pipeline_model_parallel_size=parallel_state.get_pipeline_model_parallel_world_size(),
    )


def load_hugging_face_weights(
    model: torch.nn.Module, weights: dict[str, Tensor], shape: MegatronShape
) -> None:
    """Fills an unsharded GPTModel (TP1, PP1) from Hugging Face weights.

    Written with reshape and cat, on purpose not like the converter it is compared with.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            value = _expected_parameter(name, weights, shape)
            if value.shape[0] < parameter.shape[0]:
                padding = torch.full_like(parameter[value.shape[0] :], 7.0)
                value = torch.cat([value, padding])
            parameter.copy_(value)


def _expected_parameter(name: str, weights: dict[str, Tensor], shape: MegatronShape) -> Tensor:
    flat = {
        "embedding.word_embeddings.weight": "model.embed_tokens.weight",
        "decoder.final_layernorm.weight": "model.norm.weight",
        "output_layer.weight": "lm_head.weight",
    }
    if name in flat:
        return weights[flat[name]]
    layer, _, rest = name.removeprefix("decoder.layers.").partition(".")
    prefix = f"model.layers.{layer}."
    module, _, kind = rest.rpartition(".")
    if module == "self_attention.linear_qkv":
        parts = [weights[f"{prefix}self_attn.{p}_proj.{kind}"] for p in "qkv"]
        grouped = [p.reshape(shape.num_query_groups, -1, *p.shape[1:]) for p in parts]
        return torch.cat(grouped, dim=1).flatten(0, 1)
    if module == "mlp.linear_fc1":
        return torch.cat([weights[f"{prefix}mlp.{p}_proj.weight"] for p in ("gate", "up")])
    renamed = {
        "input_layernorm": "input_layernorm",
        "pre_mlp_layernorm": "post_attention_layernorm",
        "self_attention.linear_proj": "self_attn.o_proj",
        "self_attention.q_layernorm": "self_attn.q_norm",
        "self_attention.k_layernorm": "self_attn.k_norm",
        "mlp.linear_fc2": "mlp.down_proj",
    }
    return weights[f"{prefix}{renamed[module]}.{kind}"]


def compute_logits(model: Any, input_ids: Tensor) -> Tensor | None:
    """Logits [B, S, V] on the last pipeline stage, None elsewhere; works under any layout."""
    from megatron.core import parallel_state
    from megatron.core.pipeline_parallel.p2p_communication import P2PCommunicator

    batch, length = input_ids.shape
    positions = torch.arange(length).expand(batch, length)
    mask = torch.ones(1, 1, length, length, dtype=torch.bool).triu(1)
    link = P2PCommunicator(parallel_state.get_pipeline_model_parallel_group(), model.config)
    shape = (length, batch, model.config.hidden_size)
    with torch.no_grad():
        if not parallel_state.is_pipeline_first_stage():
            model.set_input_tensor(link.recv_forward(shape, False))
        output: Tensor = model(input_ids, positions, mask)
        if parallel_state.is_pipeline_last_stage():
            return output.float()
        link.send_forward(output, False)
    return None
