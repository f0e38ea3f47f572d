"""Per-token estimators of KL(pi || pi_ref) from the log-probs of sampled tokens.

John Schulman, "Approximating KL divergence" (2020), with d = log pi_ref - log pi. Nothing here
masks or averages: that is the loss's work.

The clamps keep single tokens from ruling the batch. ``input_clamp`` limits d to +-input_clamp,
``output_clamp`` the estimate to +-output_clamp; None does not clamp. A clamped token has no
gradient. ``importance_weights`` multiply the estimate before ``output_clamp``; where
``input_clamp`` acts they are detached, so that the clamp silences their gradient too. This is
how NeMo-RL's calculate_kl orders it.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class KLEstimator(Protocol):
    """What the loss calls; bind the clamps with functools.partial."""

    def __call__(
        self,
        logprobs: Tensor,  # [B, S]
        reference_logprobs: Tensor,  # [B, S]
        *,
        importance_weights: Tensor | None = None,  # [B, S]
    ) -> Tensor: ...  # [B, S], nats


def estimate_k1(
    logprobs: Tensor,  # [B, S]
    reference_logprobs: Tensor,  # [B, S]
    *,
    importance_weights: Tensor | None = None,  # [B, S]
    input_clamp: float | None = None,
    output_clamp: float | None = None,
) -> Tensor:  # [B, S]
    """k1 = -d: unbiased, high variance, may be negative."""
    log_ratio = _clamp(reference_logprobs - logprobs, input_clamp)
    weights = _silence_clamped(importance_weights, logprobs, reference_logprobs, log_ratio)
    return _clamp(_weight(-log_ratio, weights), output_clamp)


def estimate_k2(
    logprobs: Tensor,  # [B, S]
    reference_logprobs: Tensor,  # [B, S]
    *,
    importance_weights: Tensor | None = None,  # [B, S]
    input_clamp: float | None = None,
    output_clamp: float | None = None,
) -> Tensor:  # [B, S]
    """k2 = d^2 / 2: biased in value, its gradient is that of the KL (ProRL v2)."""
    log_ratio = _clamp(reference_logprobs - logprobs, input_clamp)
    weights = _silence_clamped(importance_weights, logprobs, reference_logprobs, log_ratio)
    return _clamp(_weight(log_ratio.square() / 2, weights), output_clamp)


def estimate_k3(
    logprobs: Tensor,  # [B, S]
    reference_logprobs: Tensor,  # [B, S]
    *,
    importance_weights: Tensor | None = None,  # [B, S]
    input_clamp: float | None = None,
    output_clamp: float | None = None,
) -> Tensor:  # [B, S]
    """k3 = exp(d) - 1 - d: unbiased, never negative (GRPO, arXiv 2402.03300, eq. 4)."""
    log_ratio = _clamp(reference_logprobs - logprobs, input_clamp)
    weights = _silence_clamped(importance_weights, logprobs, reference_logprobs, log_ratio)
    return _clamp(_weight(log_ratio.exp() - 1 - log_ratio, weights), output_clamp)


def compute_kl_importance_weights(
    logprobs: Tensor,  # [B, S]
    *,
    sampling_logprobs: Tensor,  # [B, S]
) -> Tensor:  # [B, S]
    """exp(logprobs - sampling_logprobs) WITH gradient: it carries the score-function term.

    KL is an expectation under the policy that is being optimised, so its gradient has a term
    through the sampling probability (arXiv 2506.09477). ``sampling_logprobs=logprobs.detach()``
    has value 1 and that gradient (NeMo-RL's default); ``generation_logprobs`` also corrects the
    value for off-policy samples (NeMo-RL's use_on_policy_kl_approximation). A ratio that is not
    finite becomes 0.
    """
    weights = (logprobs - sampling_logprobs.detach()).exp()
    return torch.nan_to_num(weights, nan=0.0, posinf=0.0, neginf=0.0)


def _silence_clamped(
    weights: Tensor | None, logprobs: Tensor, reference_logprobs: Tensor, clamped: Tensor
) -> Tensor | None:
    if weights is None:
        return None
    is_untouched = reference_logprobs - logprobs == clamped
    return torch.where(is_untouched, weights, weights.detach())


def _weight(values: Tensor, weights: Tensor | None) -> Tensor:
    return values if weights is None else weights * values


def _clamp(values: Tensor, limit: float | None) -> Tensor:
    return values if limit is None else values.clamp(min=-limit, max=limit)
