"""The ``policy`` section for NeMo-RL: its key names, strictly the keys that ProRL supports.

Keys of NeMo-RL that are missing here keep the release's own value, or are set under
``prorl.nemo.overrides``. Nothing here imports NeMo-RL or torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from prorl_nemo.config import (
    Fraction,
    NonNegative,
    NonNegativeFloat,
    Positive,
    PositiveFloat,
    Section,
    TokenizerConfig,
)


class Fp8Config(Section):
    """Transformer Engine's FP8 in training."""

    enabled: bool
    fp8: Literal["e4m3", "hybrid"]
    """Number format: e4m3 everywhere, or e5m2 for gradients."""
    fp8_recipe: Literal["delayed", "tensorwise", "blockwise", "mxfp8", "custom"]
    """How scales are found; which of them a card can do is checked."""
    fp8_param: bool
    """Keep the parameters in FP8 as well."""


class MegatronOptimizerConfig(Section):
    lr: PositiveFloat
    min_lr: PositiveFloat
    """Equal to lr: ProRL's learning rate is constant."""
    weight_decay: NonNegativeFloat
    adam_beta1: Fraction
    adam_beta2: Fraction
    adam_eps: PositiveFloat
    use_distributed_optimizer: bool
    """Spread master weights and moments over the data-parallel ranks."""
    use_precision_aware_optimizer: bool
    optimizer_cpu_offload: bool
    optimizer_offload_fraction: Fraction


class MegatronSchedulerConfig(Section):
    lr_warmup_iters: NonNegative
    """Training steps over which the learning rate rises, again after a reset that clears it."""
    lr_warmup_init: NonNegativeFloat


class MegatronDDPConfig(Section):
    grad_reduce_in_fp32: bool
    overlap_grad_reduce: bool
    overlap_param_gather: bool


class MegatronConfig(Section):
    enabled: bool
    tensor_model_parallel_size: Positive
    pipeline_model_parallel_size: Positive
    context_parallel_size: Positive
    sequence_parallel: bool
    activation_checkpointing: bool
    recompute_granularity: Literal["full", "selective"]
    defer_fp32_logits: bool
    """Convert logits to float32 piece by piece."""
    empty_unused_memory_level: Annotated[int, Field(ge=0, le=2)]
    fp8_cfg: Fp8Config
    optimizer: MegatronOptimizerConfig
    scheduler: MegatronSchedulerConfig
    distributed_data_parallel_config: MegatronDDPConfig
    env_vars: dict[str, str]
    """Environment of the policy workers."""


class DTensorConfig(Section):
    """NeMo-RL's DTensor workers, version 2 (Automodel)."""

    enabled: bool
    tensor_parallel_size: Positive
    context_parallel_size: Positive
    sequence_parallel: bool
    activation_checkpointing: bool
    cpu_offload: bool


class OptimizerKwargs(Section):
    lr: PositiveFloat
    betas: tuple[Fraction, Fraction]
    eps: PositiveFloat
    weight_decay: NonNegativeFloat


class DTensorOptimizerConfig(Section):
    """The optimizer of the DTensor workers; Megatron has its own."""

    name: Literal["torch.optim.AdamW"]
    kwargs: OptimizerKwargs


class SequencePackingConfig(Section):
    enabled: bool
    train_mb_tokens: Positive
    """Tokens of one packed microbatch."""
    logprob_mb_tokens: Positive
    algorithm: Literal["modified_first_fit_decreasing", "first_fit_decreasing", "concatenative"]


class DynamicBatchingConfig(Section):
    enabled: bool
    train_mb_tokens: Positive
    logprob_mb_tokens: Positive
    sequence_length_round: Positive


class VllmConfig(Section):
    async_engine: bool
    """Generate request by request instead of batch by batch; training stays synchronous."""
    precision: Literal["bfloat16", "float32", "fp8"]
    kv_cache_dtype: str
    tensor_parallel_size: Positive
    pipeline_parallel_size: Positive
    gpu_memory_utilization: Annotated[float, Field(gt=0, lt=1)]
    max_model_len: Positive
    enforce_eager: bool
    use_deep_gemm: bool


class ColocatedResources(Section):
    gpus_per_node: Positive | None
    num_nodes: Positive | None


class ColocatedConfig(Section):
    enabled: bool
    """Generation takes turns with training on the same GPUs; otherwise it has its own."""
    resources: ColocatedResources


class NemoGenerationConfig(Section):
    backend: Literal["vllm"]
    max_new_tokens: Positive
    """Response limit in tokens."""
    temperature: PositiveFloat
    """Sampling temperature of the rollouts; log-probabilities are taken at it as well."""
    top_p: float
    top_k: int | None
    vllm_cfg: VllmConfig
    vllm_kwargs: dict[str, object]
    """Passed to vLLM as they are."""
    colocated: ColocatedConfig


class NemoPolicyConfig(Section):
    model_name: str
    """Hugging Face directory or hub name."""
    tokenizer: TokenizerConfig
    precision: Literal["bfloat16", "float32"]
    train_global_batch_size: Positive
    """Responses per optimizer update."""
    train_micro_batch_size: Positive
    """Responses of one forward and backward pass on a data-parallel rank."""
    logprob_batch_size: Positive
    logprob_chunk_size: Positive | None
    """Positions whose log-softmax is held in float32 at a time; null is all."""
    max_total_sequence_length: Positive
    """Prompt and response tokens together."""
    make_sequence_length_divisible_by: Positive
    max_grad_norm: PositiveFloat
    megatron_cfg: MegatronConfig
    dtensor_cfg: DTensorConfig
    optimizer: DTensorOptimizerConfig | None
    """Of the DTensor workers; null with Megatron."""
    sequence_packing: SequencePackingConfig
    dynamic_batching: DynamicBatchingConfig
    generation: NemoGenerationConfig
