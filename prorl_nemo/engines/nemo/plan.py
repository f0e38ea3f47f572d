"""What a campaign on NeMo-RL would do, told on a login node: batches, layout, memory, time.

Times are estimates from the card's data sheet and the assumptions that are printed with them;
they are there to find a layout that is off by a factor, not to predict a bill.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prorl_nemo.engines.nemo.config import NemoCampaignConfig
from prorl_nemo.engines.nemo.memory import (
    GIB,
    GpuMemory,
    estimate_memory,
    is_recomputed,
    microbatch_tokens,
)
from prorl_nemo.engines.nemo.model_shape import ModelShape, find_model_shape


@dataclass(frozen=True)
class Card:
    """Dense BF16 and FP8 operations per second, memory bytes per second (data sheets)."""

    bf16: float
    fp8: float
    bandwidth: float


CARDS = {
    "A100-80GB": Card(312e12, 312e12, 2.04e12),
    "H100-80GB": Card(989e12, 1979e12, 3.35e12),
    "H200-141GB": Card(989e12, 1979e12, 4.8e12),
    "B200-180GB": Card(2250e12, 4500e12, 8.0e12),
}


@dataclass(frozen=True)
class Assumptions:
    """What the estimates of time rest on."""

    mean_response_share: float = 0.5  # of policy.generation.max_new_tokens
    pass_rate: float = 0.5  # of groups that are informative
    compute_utilization: float = 0.35  # of the data sheet's operations
    bandwidth_utilization: float = 0.6


@dataclass(frozen=True)
class StepEstimate:
    """Seconds of one training step."""

    generation_seconds: float
    logprob_seconds: float
    training_seconds: float

    @property
    def seconds(self) -> float:
        return self.generation_seconds + self.logprob_seconds + self.training_seconds


def plan_run(config: NemoCampaignConfig, *, num_steps: int) -> list[str]:
    """Lines that describe a run; raises ValueError when it can't fit on the card."""
    lines = describe_layout(config)
    shape = find_model_shape(config.policy.model_name)
    if shape is None:
        where = config.policy.model_name
        return [*lines, f"memory, time: unknown, {where} is neither on disk nor a known model"]
    memory = estimate_memory(config, shape)
    lines += describe_memory(config, memory)
    if not memory.fits:
        raise ValueError(
            f"policy: does not fit on {config.prorl.nemo.gpu}: training takes about "
            f"{memory.training / GIB:.0f} GiB and generation {memory.generating / GIB:.0f} GiB of "
            f"{memory.card / GIB:.0f}, with room for {memory.kv_cache_tokens:,.0f} cached tokens"
        )
    assumed = Assumptions()
    step = estimate_step(config, shape, memory, assumed)
    return lines + describe_time(config, step, assumed, num_steps=num_steps)


def describe_layout(config: NemoCampaignConfig) -> list[str]:
    """Batch arithmetic and parallel layout."""
    policy, grpo = config.policy, config.grpo
    rows = grpo.num_prompts_per_step * grpo.num_generations_per_prompt
    size, dp = policy.train_global_batch_size, config.data_parallel_size
    vllm = policy.generation.vllm_cfg
    engine = vllm.tensor_parallel_size * vllm.pipeline_parallel_size
    generating = config.num_dedicated_generation_gpus or config.num_gpus
    precision: str = policy.precision
    if policy.megatron_cfg.enabled and policy.megatron_cfg.fp8_cfg.enabled:
        precision = f"FP8 {policy.megatron_cfg.fp8_cfg.fp8_recipe}"
    return [
        f"  batch: {grpo.num_prompts_per_step} groups x {grpo.num_generations_per_prompt} = {rows} "
        f"responses = {rows // size} updates x {size}; {size // dp} per data-parallel rank, "
        f"microbatches of {microbatch_tokens(config):,} tokens",
        f"  layout: {config.num_gpus} x {config.prorl.nemo.gpu}, TP {config.tensor_parallel_size} "
        f"x PP {config.pipeline_parallel_size} x CP {config.context_parallel_size} x DP {dp}, "
        f"training in {precision}; {generating // engine} vLLM engines of {engine} in "
        f"{vllm.precision}, {'colocated' if policy.generation.colocated.enabled else 'apart'}",
    ]


def describe_memory(config: NemoCampaignConfig, memory: GpuMemory) -> list[str]:
    """Memory per GPU against the card."""

    def gib(size: float) -> str:
        return f"{size / GIB:.1f}"

    stored = "recomputed activations" if is_recomputed(config) else "activations"
    return [
        f"  memory per GPU, GiB: weights {gib(memory.weights)} + gradients {gib(memory.gradients)} "
        f"+ optimizer {gib(memory.optimizer)} + {stored} {gib(memory.activations)} + logits "
        f"{gib(memory.logits)} = {gib(memory.training)} with reserve, of {gib(memory.card)}",
        f"  generation, GiB: {gib(memory.generating)} with reserve, weights "
        f"{gib(memory.generation_weights)}, cache for {memory.kv_cache_tokens:,.0f} tokens per "
        f"engine; reference on the host {gib(memory.reference_on_host)} per GPU",
    ]


def estimate_step(
    config: NemoCampaignConfig, shape: ModelShape, memory: GpuMemory, assumed: Assumptions
) -> StepEstimate:
    """Seconds of a step in which training and generation take turns."""
    policy, card = config.policy, CARDS[config.prorl.nemo.gpu]
    rows = config.grpo.num_prompts_per_step * config.grpo.num_generations_per_prompt
    response = assumed.mean_response_share * policy.generation.max_new_tokens
    tokens = rows * response
    is_fp8 = policy.megatron_cfg.enabled and policy.megatron_cfg.fp8_cfg.enabled
    rate = (card.fp8 if is_fp8 else card.bf16) * assumed.compute_utilization
    forward = 2 * shape.num_parameters * tokens / rate / config.num_training_gpus
    return StepEstimate(
        generation_seconds=_generation_seconds(config, shape, memory, assumed),
        logprob_seconds=2 * forward,  # policy and reference
        training_seconds=forward * (4 if is_recomputed(config) else 3),
    )


def _generation_seconds(
    config: NemoCampaignConfig, shape: ModelShape, memory: GpuMemory, assumed: Assumptions
) -> float:
    """Every decoded token reads the weights once per batch and the cache of its sequence."""
    vllm, card = config.policy.generation.vllm_cfg, CARDS[config.prorl.nemo.gpu]
    engine = vllm.tensor_parallel_size * vllm.pipeline_parallel_size
    gpus = config.num_dedicated_generation_gpus or config.num_gpus
    rows = config.grpo.num_prompts_per_step * config.grpo.num_generations_per_prompt
    if config.prorl.dynamic_sampling.enabled:
        rows = int(rows / assumed.pass_rate)
    response = assumed.mean_response_share * config.policy.generation.max_new_tokens
    rows_per_engine = max(1.0, rows / (gpus // engine))
    concurrent = min(rows_per_engine, max(1.0, memory.kv_cache_tokens / response))
    bandwidth = card.bandwidth * assumed.bandwidth_utilization
    cache_bytes = concurrent * response / 2 * shape.kv_bytes_per_token / engine
    seconds_per_token = (memory.generation_weights + cache_bytes) / bandwidth
    waves = rows_per_engine / concurrent
    return waves * response * seconds_per_token


def describe_time(
    config: NemoCampaignConfig, step: StepEstimate, assumed: Assumptions, *, num_steps: int
) -> list[str]:
    """A step's seconds, the run's GPU hours, and what they assume."""
    hours = step.seconds * num_steps * config.num_gpus / 3600
    return [
        f"  step: about {step.seconds:.0f} s (generation {step.generation_seconds:.0f}, "
        f"log-probabilities {step.logprob_seconds:.0f}, training {step.training_seconds:.0f}); "
        f"run of {num_steps} steps: {hours:,.0f} GPU hours",
        f"  assumed: responses of {assumed.mean_response_share:.0%} of the limit, "
        f"{assumed.pass_rate:.0%} of groups informative, {assumed.compute_utilization:.0%} of the "
        f"card's operations, {assumed.bandwidth_utilization:.0%} of its bandwidth, no stragglers",
    ]


def campaign_gpu_hours(runs: Sequence[tuple[NemoCampaignConfig, int]]) -> float | None:
    """GPU hours of (configuration, steps) in order; None when the model is unknown."""
    total = 0.0
    for config, num_steps in runs:
        shape = find_model_shape(config.policy.model_name)
        if shape is None:
            return None
        memory = estimate_memory(config, shape)
        step = estimate_step(config, shape, memory, Assumptions())
        total += step.seconds * num_steps * config.num_gpus / 3600
    return total
