"""What the loss of a micro-batch takes, and sums and means of what it reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

from torch import Tensor

from prorl_nemo.engines.local.forward import ResponseRows
from prorl_nemo.objective import LossInputs, ObjectiveResult
from prorl_nemo.types import TrainBatch, TrainMetrics

NOTHING_YET = TrainMetrics(
    loss=0.0,
    policy_loss=0.0,
    kl_penalty=0.0,
    clip_fraction_low=0.0,
    clip_fraction_high=0.0,
    ratio_mean=0.0,
    importance_out_of_bound_rate=0.0,
    grad_norm=0.0,
    learning_rate=0.0,
    num_updates=1,
)


def add_share(metrics: TrainMetrics, result: ObjectiveResult) -> TrainMetrics:
    """The metrics of an update with the shares of one more micro-batch."""
    loss = result.loss
    total, policy_loss = float(loss.loss.detach()), float(loss.policy_loss)
    out_of_bound_rate = float(result.importance_out_of_bound_rate)
    return replace(
        metrics,
        loss=metrics.loss + total,
        policy_loss=metrics.policy_loss + policy_loss,
        kl_penalty=metrics.kl_penalty + total - policy_loss,
        clip_fraction_low=metrics.clip_fraction_low + float(loss.clip_fraction_low),
        clip_fraction_high=metrics.clip_fraction_high + float(loss.clip_fraction_high),
        ratio_mean=metrics.ratio_mean + float(loss.ratio_mean),
        importance_out_of_bound_rate=metrics.importance_out_of_bound_rate + out_of_bound_rate,
    )


def make_loss_inputs(
    batch: TrainBatch,
    part: ResponseRows,
    curr_logprobs: Tensor,  # [R, L]
    *,
    counts: tuple[Tensor, Tensor],
) -> LossInputs:
    """The rows of ``part`` on the device of ``curr_logprobs``; ``counts`` of sequences, tokens."""
    assert batch.prev_logprobs is not None, "compute_logprobs has run"
    assert batch.reference_policy_logprobs is not None, "compute_logprobs has run"
    device = curr_logprobs.device

    def take(values: Tensor) -> Tensor:
        return part.take(values).to(device)

    return LossInputs(
        curr_logprobs=curr_logprobs,
        prev_logprobs=take(batch.prev_logprobs),
        generation_logprobs=take(batch.rollouts.generation_logprobs),
        reference_policy_logprobs=take(batch.reference_policy_logprobs),
        advantages=take(batch.advantages),
        token_mask=part.is_response.to(device),
        sample_mask=batch.sample_mask[part.rows].to(device),
        global_valid_seqs=counts[0].to(device),
        global_valid_toks=counts[1].to(device),
    )


def mean_metrics(updates: Sequence[TrainMetrics]) -> TrainMetrics:
    """Means over the updates of a step; the learning rate is the last one's."""
    means = {
        field.name: sum(getattr(update, field.name) for update in updates) / len(updates)
        for field in fields(TrainMetrics)
    }
    means["learning_rate"] = updates[-1].learning_rate
    return TrainMetrics(**{**means, "num_updates": len(updates)})
