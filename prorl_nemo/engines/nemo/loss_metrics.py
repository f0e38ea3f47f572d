"""What the loss reports beside itself, without reading a number back from the device.

NeMo-RL collects metrics in Python objects that travel between processes. ``on_device`` gives it
tensors that become plain numbers only then, behind the step, instead of stopping the stream
once per metric and microbatch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prorl_nemo.algorithms.entropy import estimate_entropy
from prorl_nemo.algorithms.importance import compute_importance_weights
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
    mask = inputs.token_mask & inputs.sample_mask[:, None]
    prev, gen, curr = (
        torch.where(mask, values, 0.0)
        for values in (inputs.prev_logprobs, inputs.generation_logprobs, inputs.curr_logprobs)
    )
    mixture = torch.logaddexp(prev, gen) - torch.log(prev.new_tensor(2.0))
    estimate: Callable[[Tensor, Tensor], Tensor] = KL_ESTIMATORS[config.reference_policy_kl_type]

    def share(values: Tensor) -> Tensor:
        return torch.where(mask, values, 0.0).sum() / inputs.global_valid_toks

    def k3(log_ratio: Tensor) -> Tensor:
        return log_ratio.exp() - log_ratio - 1

    return SamplerMismatch(
        mult_prob_error=share((gen - prev).abs().exp()),
        gen_kl=share(estimate(gen, prev)),
        policy_kl=share(estimate(prev, gen)),
        js_divergence=share((k3(prev - mixture) + k3(gen - mixture)) / 2),
        importance_ratio=share(compute_importance_weights(prev - gen, token_mask=mask)),
        approx_entropy=share(estimate_entropy(curr, sampling_logprobs=gen)),
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
