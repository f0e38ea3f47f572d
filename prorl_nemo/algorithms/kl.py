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

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


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

    def k1(log_ratio: Tensor) -> tuple[Tensor, Tensor]:
        return -log_ratio, torch.full_like(log_ratio, -1.0)

    return _estimate(
        k1, logprobs, reference_logprobs, importance_weights, input_clamp, output_clamp
    )


def estimate_k2(
    logprobs: Tensor,  # [B, S]
    reference_logprobs: Tensor,  # [B, S]
    *,
    importance_weights: Tensor | None = None,  # [B, S]
    input_clamp: float | None = None,
    output_clamp: float | None = None,
) -> Tensor:  # [B, S]
    """k2 = d^2 / 2: biased in value, its gradient is that of the KL (ProRL v2)."""

    def k2(log_ratio: Tensor) -> tuple[Tensor, Tensor]:
        return log_ratio.square().div_(2), log_ratio

    return _estimate(
        k2, logprobs, reference_logprobs, importance_weights, input_clamp, output_clamp
    )


def estimate_k3(
    logprobs: Tensor,  # [B, S]
    reference_logprobs: Tensor,  # [B, S]
    *,
    importance_weights: Tensor | None = None,  # [B, S]
    input_clamp: float | None = None,
    output_clamp: float | None = None,
) -> Tensor:  # [B, S]
    """k3 = exp(d) - 1 - d: unbiased, never negative (GRPO, arXiv 2402.03300, eq. 4)."""

    def k3(log_ratio: Tensor) -> tuple[Tensor, Tensor]:
        slope = log_ratio.exp().sub_(1)
        return slope - log_ratio, slope

    return _estimate(
        k3, logprobs, reference_logprobs, importance_weights, input_clamp, output_clamp
    )


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


def _estimate(
    estimator: Callable[[Tensor], tuple[Tensor, Tensor]],  # d -> its value, and its slope in d
    logprobs: Tensor,
    reference_logprobs: Tensor,
    importance_weights: Tensor | None,
    input_clamp: float | None,
    output_clamp: float | None,
) -> Tensor:
    values: Tensor = _KLEstimate.apply(  # type: ignore[no-untyped-call]
        logprobs, reference_logprobs, importance_weights, estimator, input_clamp, output_clamp
    )
    return values


class _KLEstimate(torch.autograd.Function):
    """Clamps, weight and estimator with their slopes, to pass over memory once per direction."""

    @staticmethod
    def forward(
        ctx: Any,
        logprobs: Tensor,
        reference_logprobs: Tensor,
        weights: Tensor | None,
        estimator: Callable[[Tensor], tuple[Tensor, Tensor]],
        input_clamp: float | None,
        output_clamp: float | None,
    ) -> Tensor:
        log_ratio = reference_logprobs - logprobs
        clamped = _clamp(log_ratio, input_clamp)
        unweighted, slope = estimator(clamped)
        weighted = unweighted if weights is None else weights * unweighted
        values = _clamp(weighted, output_clamp)
        # As functions of d and of the weight; 0 where a clamp acts.
        slope = slope if weights is None else slope * weights
        for before, behind in ((log_ratio, clamped), (weighted, values)):
            if behind is not before:
                is_free = torch.eq(before, behind, out=torch.empty_like(before))
                slope = slope * is_free
                unweighted = unweighted * is_free
        ctx.save_for_backward(slope, None if weights is None else unweighted)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        slope, unweighted = ctx.saved_tensors
        grad_reference = grad * slope
        grad_weights = None if unweighted is None else grad * unweighted
        return -grad_reference, grad_reference, grad_weights, None, None, None


def _clamp(values: Tensor, limit: float | None) -> Tensor:
    return values if limit is None else values.clamp(min=-limit, max=limit)
