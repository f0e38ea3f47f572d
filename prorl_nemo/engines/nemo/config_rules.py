"""Rules between keys that a cluster would only find out about after its GPUs are taken.

Each check raises ValueError with one line that begins with the key to change. They say what
NeMo-RL v0.7.0, Megatron-core, Transformer Engine and vLLM demand, and what ProRL's loop does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from prorl_nemo.engines.nemo.model_shape import find_model_shape

if TYPE_CHECKING:  # config imports this module
    from prorl_nemo.engines.nemo.config import NemoCampaignConfig

# Which FP8 recipes of Transformer Engine a card can do.
FP8_RECIPES = {
    "A100-80GB": (),
    "H100-80GB": ("delayed", "tensorwise", "blockwise"),
    "H200-141GB": ("delayed", "tensorwise", "blockwise"),
    "B200-180GB": ("delayed", "tensorwise", "blockwise", "mxfp8"),
}


def check_backend(config: NemoCampaignConfig) -> None:
    policy = config.policy
    if policy.megatron_cfg.enabled == policy.dtensor_cfg.enabled:
        raise ValueError(
            "policy.megatron_cfg.enabled: either this or policy.dtensor_cfg.enabled must be true"
        )
    if policy.dtensor_cfg.enabled and policy.optimizer is None:
        raise ValueError("policy.optimizer: the DTensor workers need one")
    if policy.megatron_cfg.enabled and policy.optimizer is not None:
        raise ValueError("policy.optimizer: null with Megatron, see policy.megatron_cfg.optimizer")


def check_layout(config: NemoCampaignConfig) -> None:
    """Model parallelism against the cluster and the model."""
    tp, pp = config.tensor_parallel_size, config.pipeline_parallel_size
    section = (
        "megatron_cfg.tensor_model" if config.policy.megatron_cfg.enabled else "dtensor_cfg.tensor"
    )
    if config.num_training_gpus < 1:
        raise ValueError(
            "policy.generation.colocated.resources: generation takes "
            f"{config.num_dedicated_generation_gpus} of {config.num_gpus} GPUs, none is left"
        )
    if config.num_training_gpus % config.model_parallel_size:
        raise ValueError(
            f"policy.{section}_parallel_size: {config.num_training_gpus} training GPUs don't "
            f"divide into copies of {config.model_parallel_size} "
            f"(TP {tp} x PP {pp} x CP {config.context_parallel_size})"
        )
    shape = find_model_shape(config.policy.model_name)
    if shape is None:
        return
    if shape.num_attention_heads % tp or shape.num_key_value_heads % tp:
        raise ValueError(
            f"policy.{section}_parallel_size: {tp} does not divide {shape.num_attention_heads} "
            f"attention heads and {shape.num_key_value_heads} key-value heads"
        )
    if shape.num_hidden_layers % pp:
        raise ValueError(
            f"policy.megatron_cfg.pipeline_model_parallel_size: {pp} does not divide "
            f"{shape.num_hidden_layers} layers"
        )


def check_batches(config: NemoCampaignConfig) -> None:
    """Rollout, optimizer update, data-parallel shard and microbatch nest without a rest."""
    policy, grpo, dp = config.policy, config.grpo, config.data_parallel_size
    size = policy.train_global_batch_size
    rows = grpo.num_prompts_per_step * grpo.num_generations_per_prompt
    if rows % size:
        raise ValueError(
            f"grpo.num_prompts_per_step: {rows} responses of a step are not whole updates of "
            f"policy.train_global_batch_size ({size})"
        )
    if size % dp:
        raise ValueError(
            f"policy.train_global_batch_size: {size} does not divide among {dp} data-parallel ranks"
        )
    is_packed = policy.sequence_packing.enabled or policy.dynamic_batching.enabled
    if not is_packed and (size // dp) % policy.train_micro_batch_size:
        raise ValueError(
            f"policy.train_micro_batch_size: {policy.train_micro_batch_size} does not divide the "
            f"{size // dp} responses of a data-parallel rank"
        )
    if (
        config.tensor_parallel_size >= 4
        and policy.train_micro_batch_size != policy.logprob_batch_size
    ):
        raise ValueError(
            "policy.logprob_batch_size: must equal policy.train_micro_batch_size with tensor "
            "parallelism of 4 and more, or log-probabilities differ between the two"
        )


def check_microbatches(config: NemoCampaignConfig) -> None:
    """Packing, dynamic batches and padded lengths."""
    policy, tp, cp = config.policy, config.tensor_parallel_size, config.context_parallel_size
    packing, dynamic = policy.sequence_packing, policy.dynamic_batching
    if packing.enabled and dynamic.enabled:
        raise ValueError(
            "policy.dynamic_batching.enabled: excludes policy.sequence_packing.enabled"
        )
    if dynamic.enabled and config.pipeline_parallel_size > 1:
        raise ValueError(
            "policy.dynamic_batching.enabled: not with pipeline parallelism; use sequence_packing"
        )
    if cp > 1 and not packing.enabled and policy.megatron_cfg.enabled:
        raise ValueError(
            "policy.megatron_cfg.context_parallel_size: needs policy.sequence_packing.enabled"
        )
    for name, section in (("sequence_packing", packing), ("dynamic_batching", dynamic)):
        for key in ("train_mb_tokens", "logprob_mb_tokens"):
            if section.enabled and getattr(section, key) < policy.max_total_sequence_length:
                raise ValueError(
                    f"policy.{name}.{key}: below policy.max_total_sequence_length, the longest "
                    "response would not fit"
                )
    backend = policy.megatron_cfg if policy.megatron_cfg.enabled else policy.dtensor_cfg
    section_name = "megatron_cfg" if policy.megatron_cfg.enabled else "dtensor_cfg"
    if backend.sequence_parallel and tp == 1:
        raise ValueError(f"policy.{section_name}.sequence_parallel: needs tensor parallelism")
    multiple = (tp if backend.sequence_parallel else 1) * (2 * cp if cp > 1 else 1)
    if policy.make_sequence_length_divisible_by % multiple:
        raise ValueError(
            f"policy.make_sequence_length_divisible_by: must be a multiple of {multiple} for this "
            "tensor, sequence and context parallelism"
        )


def check_fp8(config: NemoCampaignConfig) -> None:
    """Megatron-core accepts any string here and trains in BF16 in silence."""
    megatron, gpu = config.policy.megatron_cfg, config.prorl.nemo.gpu
    fp8 = megatron.fp8_cfg
    if fp8.fp8_param and not fp8.enabled:
        raise ValueError("policy.megatron_cfg.fp8_cfg.fp8_param: needs fp8_cfg.enabled")
    if not fp8.enabled:
        return
    if not megatron.enabled:
        raise ValueError("policy.megatron_cfg.fp8_cfg.enabled: only Megatron trains in FP8")
    if fp8.fp8_recipe != "custom" and fp8.fp8_recipe not in FP8_RECIPES[gpu]:
        able = ", ".join(FP8_RECIPES[gpu]) or "none"
        raise ValueError(
            f"policy.megatron_cfg.fp8_cfg.fp8_recipe: {gpu} can't do {fp8.fp8_recipe}, only {able}"
        )
    if megatron.optimizer.use_precision_aware_optimizer:
        raise ValueError(
            "policy.megatron_cfg.optimizer.use_precision_aware_optimizer: false with FP8 training"
        )


def check_optimizer(config: NemoCampaignConfig) -> None:
    optimizer = config.policy.megatron_cfg.optimizer
    if optimizer.min_lr != optimizer.lr:
        raise ValueError("policy.megatron_cfg.optimizer.min_lr: equal to lr, which is constant")
    if optimizer.optimizer_offload_fraction and not optimizer.optimizer_cpu_offload:
        raise ValueError(
            "policy.megatron_cfg.optimizer.optimizer_offload_fraction: needs optimizer_cpu_offload"
        )
    if config.prorl.nemo.reset_by == "restart":
        if not config.prorl.reset.reset_optimizer:
            raise ValueError(
                "prorl.nemo.reset_by: restart loses the optimizer; prorl.reset.reset_optimizer "
                "must be true"
            )
        if not config.policy.megatron_cfg.enabled:
            raise ValueError("prorl.nemo.reset_by: restart needs Megatron")


def check_generation(config: NemoCampaignConfig) -> None:
    policy, generation = config.policy, config.policy.generation
    vllm = generation.vllm_cfg
    if generation.top_p != 1.0:
        raise ValueError("policy.generation.top_p: 1.0, ProRL's ratios need the whole distribution")
    if generation.top_k is not None:
        raise ValueError(
            "policy.generation.top_k: null, ProRL's ratios need the whole distribution"
        )
    if vllm.max_model_len < policy.max_total_sequence_length:
        raise ValueError(
            "policy.generation.vllm_cfg.max_model_len: below policy.max_total_sequence_length"
        )
    if vllm.kv_cache_dtype != "auto":
        raise ValueError(
            "policy.generation.vllm_cfg.kv_cache_dtype: auto; scales of an FP8 cache are not "
            "calibrated by this loop"
        )
    if vllm.precision == "fp8" and not config.loss_fn.use_importance_sampling_correction:
        raise ValueError(
            "loss_fn.use_importance_sampling_correction: true when vLLM generates in FP8"
        )
    if vllm.precision == "fp8" and not FP8_RECIPES[config.prorl.nemo.gpu]:
        raise ValueError(
            f"policy.generation.vllm_cfg.precision: {config.prorl.nemo.gpu} has no FP8"
        )
    gpus = config.num_dedicated_generation_gpus or config.num_gpus
    if gpus % (vllm.tensor_parallel_size * vllm.pipeline_parallel_size):
        raise ValueError(
            f"policy.generation.vllm_cfg.tensor_parallel_size: {gpus} GPUs don't divide into "
            f"engines of {vllm.tensor_parallel_size * vllm.pipeline_parallel_size}"
        )


def check_validation(config: NemoCampaignConfig) -> None:
    """NeMo-RL's vLLM workers have one temperature and top_p for all they generate."""
    validation, generation = config.prorl.validation, config.policy.generation
    if validation.temperature != generation.temperature:
        raise ValueError(
            "prorl.validation.temperature: NeMo-RL validates at policy.generation.temperature "
            f"({generation.temperature:g})"
        )
    if validation.top_p != 1.0:
        raise ValueError("prorl.validation.top_p: NeMo-RL validates at policy.generation.top_p (1)")


CHECKS: Sequence[Callable[[NemoCampaignConfig], None]] = (
    check_backend,
    check_layout,
    check_batches,
    check_microbatches,
    check_fp8,
    check_optimizer,
    check_generation,
    check_validation,
)
