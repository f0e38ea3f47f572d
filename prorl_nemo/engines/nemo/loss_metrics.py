"""What the loss reports beside itself, without reading a number back from the device.

NeMo-RL collects metrics in Python objects that travel between processes. ``on_device`` gives it
tensors that become plain numbers only then, behind the step, instead of stopping the stream
once per metric and microbatch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prorl_nemo.algorithms.entropy import estimate_entropy
from prorl_nemo.algorithms.ratio_histogram import (
    compute_log_ratio_histogram,
    estimate_log_ratio_quantile,
)
from prorl_nemo.config import LossConfig
from prorl_nemo.objective import KL_ESTIMATORS, LossInputs

LOG_RATIO_LIMIT = 2.0  # nats; ratios from 0.14 to 7.4 are told apart
NUM_RATIO_BINS = 200  # 0.02 nats each


class DeviceMetric(Tensor):
    """A detached tensor that pickles as a float, or as a list of floats."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        value = self.as_subclass(Tensor).tolist()
        return (list if isinstance(value, list) else float), (value,)


def on_device(value: Tensor) -> Tensor:
    """``value`` without gradient; a number once it leaves the process."""
    metric: Tensor = value.detach().as_subclass(DeviceMetric)
    return metric


@dataclass(frozen=True)
class SamplerMismatch:
    """How far the sampler's log-probabilities are from the trainer's; shares, to be summed."""

    mult_prob_error: Tensor  # [] mean exp |log pi_gen - log pi_prev|
    gen_kl: Tensor  # [] KL(pi_gen, pi_prev), estimated
    policy_kl: Tensor  # [] KL(pi_prev, pi_gen), estimated
    js_divergence: Tensor  # []
    importance_ratio: Tensor  # [] mean pi_prev / pi_gen
    approx_entropy: Tensor  # [] nats


@torch.no_grad()
def compute_sampler_mismatch(inputs: LossInputs, config: LossConfig) -> SamplerMismatch:
    """NeMo-RL's mismatch metrics, with masks that select instead of multiply."""
    select = inputs.select
    log_ratio = select(inputs.sampler_log_ratio)
    ratio = log_ratio.exp()
    inverse = ratio.reciprocal()
    # k3 both ways; half the log of their mean distance from 1 is the divergence to the mixture.
    gen_k3 = (ratio - log_ratio).sub_(1)
    policy_k3 = (inverse + log_ratio).sub_(1)
    js_divergence = (gen_k3 + policy_k3).div_(4).log1p_().div_(2)
    gen_kl, policy_kl = gen_k3, policy_k3
    if config.reference_policy_kl_type != "k3":
        estimate = KL_ESTIMATORS[config.reference_policy_kl_type]
        nothing = torch.zeros_like(log_ratio)
        gen_kl, policy_kl = estimate(nothing, log_ratio), estimate(log_ratio, nothing)
    entropy = estimate_entropy(
        select(inputs.curr_logprobs), sampling_logprobs=select(inputs.generation_logprobs)
    )
    counted = select(torch.ones_like(ratio[:1, :1]).expand_as(ratio)).flatten()

    def share(values: Tensor) -> Tensor:
        return values.flatten().dot(counted) / inputs.global_valid_toks

    return SamplerMismatch(
        mult_prob_error=share(torch.maximum(ratio, inverse)),
        gen_kl=share(gen_kl),
        policy_kl=share(policy_kl),
        js_divergence=share(js_divergence),
        importance_ratio=share(inputs.sampler_ratio),
        approx_entropy=share(entropy),
    )


def compute_ratio_histogram(inputs: LossInputs) -> Tensor:
    """Shares of the global batch's tokens by log pi / pi_prev, [NUM_RATIO_BINS]: sum them."""
    return compute_log_ratio_histogram(
        inputs.curr_logprobs - inputs.prev_logprobs,
        token_mask=inputs.token_mask,
        sample_mask=inputs.sample_mask,
        global_valid_toks=inputs.global_valid_toks,
        limit=LOG_RATIO_LIMIT,
        num_bins=NUM_RATIO_BINS,
    )


def ratio_quantile(histogram: Tensor, quantile: float) -> float:
    """The quantile of pi / pi_prev that a summed histogram shows."""
    log_ratio = estimate_log_ratio_quantile(histogram, quantile=quantile, limit=LOG_RATIO_LIMIT)
    return float(log_ratio.exp())
