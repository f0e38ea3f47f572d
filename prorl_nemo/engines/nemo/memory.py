"""Memory of one GPU, from the sizes of model, layout and batch; no torch, no GPU.

The estimate counts what is large: weights, gradients, optimizer, activations, logits, and
vLLM's share while it generates. It leaves out fragmentation and CUDA's own context, for which
``RESERVED_BYTES`` stands. Sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from prorl_nemo.engines.nemo.config import NemoCampaignConfig
from prorl_nemo.engines.nemo.model_shape import ModelShape

GIB = 2**30
CARD_BYTES = {
    "A100-80GB": 80 * 10**9,
    "H100-80GB": 80 * 10**9,
    "H200-141GB": 141 * 10**9,
    "B200-180GB": 180 * 10**9,
}
RESERVED_BYTES = 4 * GIB  # CUDA context, NCCL buffers, fragmentation
BF16, FP32 = 2, 4
# Bytes per token and hidden unit that one layer keeps for its backward pass without recompute,
# attention scores left out (flash attention): Korthikanti et al., arXiv 2205.05198, eq. 2.
LAYER_BYTES = 34


@dataclass(frozen=True)
class GpuMemory:
    """What one GPU of the fullest pipeline stage holds; the reference is on the host."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    generation: float  # vLLM's reservation while it generates
    generation_weights: float
    kv_cache_tokens: float  # what is left of it, in tokens of one engine
    reference_on_host: float
    card: float

    @property
    def training(self) -> float:
        """While training; vLLM sleeps when colocated."""
        held = self.weights + self.gradients + self.optimizer + self.activations + self.logits
        return held + RESERVED_BYTES

    @property
    def generating(self) -> float:
        """While generating; the policy's weights leave the card behind the refit."""
        return self.generation + RESERVED_BYTES

    @property
    def fits(self) -> bool:
        has_cache = self.kv_cache_tokens > 0
        return has_cache and max(self.training, self.generating) <= self.card


def estimate_memory(config: NemoCampaignConfig, shape: ModelShape) -> GpuMemory:
    """Memory of a run with ``config`` in force."""
    policy, vllm = config.policy, config.policy.generation.vllm_cfg
    parameters = _parameters_per_gpu(config, shape)
    card = CARD_BYTES[config.prorl.nemo.gpu]
    generation = vllm.gpu_memory_utilization * card
    engine = vllm.tensor_parallel_size * vllm.pipeline_parallel_size
    bytes_per_weight = 1 if vllm.precision == "fp8" else BF16
    generation_weights = shape.num_parameters * bytes_per_weight / engine
    cache = (generation - generation_weights) * engine
    sharded = policy.dtensor_cfg.enabled  # FSDP2 shards weights and gradients as well
    copies = config.data_parallel_size if sharded else 1
    gradient_bytes = FP32 if _has_fp32_gradients(config) else BF16
    return GpuMemory(
        weights=parameters * BF16 / copies,
        gradients=parameters * gradient_bytes / copies,
        optimizer=_optimizer_bytes(config, parameters),
        activations=_activation_bytes(config, shape),
        logits=_logit_bytes(config, shape),
        generation=generation,
        generation_weights=generation_weights,
        kv_cache_tokens=cache / shape.kv_bytes_per_token,
        reference_on_host=parameters * BF16 / copies,
        card=card,
    )


def microbatch_tokens(config: NemoCampaignConfig) -> int:
    """Token slots of one forward and backward pass on a rank."""
    policy = config.policy
    for section in (policy.sequence_packing, policy.dynamic_batching):
        if section.enabled:
            return section.train_mb_tokens
    return policy.train_micro_batch_size * policy.max_total_sequence_length


def is_recomputed(config: NemoCampaignConfig) -> bool:
    """Whether the backward pass computes a layer's activations again."""
    policy = config.policy
    backend = policy.megatron_cfg if policy.megatron_cfg.enabled else policy.dtensor_cfg
    return backend.activation_checkpointing


def _parameters_per_gpu(config: NemoCampaignConfig, shape: ModelShape) -> float:
    """Weights on a GPU of the fullest stage: its layers, and one of the two embeddings."""
    tp, pp = config.tensor_parallel_size, config.pipeline_parallel_size
    layers = shape.num_hidden_layers / pp * shape.num_layer_parameters
    embeddings = shape.num_embedding_parameters
    if pp > 1:
        embeddings = shape.vocab_size * shape.hidden_size
    return (layers + embeddings) / tp


def _has_fp32_gradients(config: NemoCampaignConfig) -> bool:
    megatron = config.policy.megatron_cfg
    return megatron.enabled and megatron.distributed_data_parallel_config.grad_reduce_in_fp32


def _optimizer_bytes(config: NemoCampaignConfig, parameters: float) -> float:
    """Adam's two moments and the float32 master weights, all float32."""
    megatron, dp = config.policy.megatron_cfg, config.data_parallel_size
    held = parameters * 3 * FP32
    if not megatron.enabled:
        return held / dp
    if megatron.optimizer.optimizer_cpu_offload:
        held *= 1 - megatron.optimizer.optimizer_offload_fraction
    return held / dp if megatron.optimizer.use_distributed_optimizer else held


def _activation_bytes(config: NemoCampaignConfig, shape: ModelShape) -> float:
    policy = config.policy
    backend = policy.megatron_cfg if policy.megatron_cfg.enabled else policy.dtensor_cfg
    tokens = microbatch_tokens(config) / config.context_parallel_size
    split = config.tensor_parallel_size if backend.sequence_parallel else 1
    layers = shape.num_hidden_layers / config.pipeline_parallel_size
    in_flight = config.pipeline_parallel_size  # microbatches of the first stage, 1F1B
    one_layer = tokens * shape.hidden_size * LAYER_BYTES / config.tensor_parallel_size
    if is_recomputed(config):
        return layers * in_flight * tokens * shape.hidden_size * BF16 / split + one_layer
    return layers * in_flight * one_layer


def _logit_bytes(config: NemoCampaignConfig, shape: ModelShape) -> float:
    """BF16 logits and their gradient, and the float32 pieces of the log-softmax."""
    policy = config.policy
    tokens = microbatch_tokens(config) / config.context_parallel_size
    vocabulary = shape.vocab_size / config.tensor_parallel_size
    piece = min(tokens, policy.logprob_chunk_size or tokens)
    return vocabulary * (tokens * 2 * BF16 + piece * 2 * FP32)
