"""What the loss of a micro-batch takes, and sums and means of what it reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from prorl_nemo.engines.local.forward import ResponseRows
from prorl_nemo.objective import LossInputs, ObjectiveResult
from prorl_nemo.types import TrainBatch, TrainMetrics


@dataclass(frozen=True)
class MinibatchMetrics:
    """One optimizer update; the loss terms are sums of the micro-batches' shares."""

    loss: float
    policy_loss: float
    kl_penalty: float
    clip_fraction_low: float
    clip_fraction_high: float
    ratio_mean: float
    importance_out_of_bound_rate: float
    grad_norm: float
    learning_rate: float

    @classmethod
    def zero(cls) -> MinibatchMetrics:
        return cls(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

    def plus(self, result: ObjectiveResult) -> MinibatchMetrics:
        """With the shares of one more micro-batch."""
        loss = result.loss
        total = float(loss.loss.detach())
        policy_loss = float(loss.policy_loss)
        return MinibatchMetrics(
            loss=self.loss + total,
            policy_loss=self.policy_loss + policy_loss,
            kl_penalty=self.kl_penalty + total - policy_loss,
            clip_fraction_low=self.clip_fraction_low + float(loss.clip_fraction_low),
            clip_fraction_high=self.clip_fraction_high + float(loss.clip_fraction_high),
            ratio_mean=self.ratio_mean + float(loss.ratio_mean),
            importance_out_of_bound_rate=self.importance_out_of_bound_rate
            + float(result.importance_out_of_bound_rate),
            grad_norm=self.grad_norm,
            learning_rate=self.learning_rate,
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


def mean_metrics(updates: Sequence[MinibatchMetrics]) -> TrainMetrics:
    """Means over the updates of a step; the learning rate is the last one's."""
    count = len(updates)

    def mean(name: str) -> float:
        return float(sum(getattr(update, name) for update in updates) / count)

    return TrainMetrics(
        loss=mean("loss"),
        policy_loss=mean("policy_loss"),
        kl_penalty=mean("kl_penalty"),
        clip_fraction_low=mean("clip_fraction_low"),
        clip_fraction_high=mean("clip_fraction_high"),
        ratio_mean=mean("ratio_mean"),
        importance_out_of_bound_rate=mean("importance_out_of_bound_rate"),
        grad_norm=mean("grad_norm"),
        learning_rate=updates[-1].learning_rate,
        num_updates=count,
    )
