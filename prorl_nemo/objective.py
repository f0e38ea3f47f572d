"""The ``loss_fn`` section turned into functions, once, for both engines.

Below this module there are no modes: ``algorithms.losses`` gets floats and callables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from prorl_nemo.algorithms.importance import (
    compute_icepop_weights,
    compute_importance_weights,
    compute_out_of_bound_rate,
    compute_seq_mask_tis_weights,
    compute_sequence_mean_ratio,
    compute_tis_weights,
)
from prorl_nemo.algorithms.kl import estimate_k1, estimate_k2, estimate_k3
from prorl_nemo.algorithms.losses import (
    PolicyLoss,
    aggregate_sequence_level,
    aggregate_token_level,
    prorl_loss,
)
from prorl_nemo.config import LossConfig

KL_ESTIMATORS = {"k1": estimate_k1, "k2": estimate_k2, "k3": estimate_k3}
TRUNCATIONS: dict[str, Callable[..., Tensor]] = {
    "tis": compute_tis_weights,
    "icepop": compute_icepop_weights,
    "seq-mask-tis": compute_seq_mask_tis_weights,
}


@dataclass(frozen=True)
class LossInputs:
    """A microbatch of the loss. Counts are those of the whole optimizer update."""

    curr_logprobs: Tensor  # [B, S], the only input with a gradient
    prev_logprobs: Tensor  # [B, S]
    generation_logprobs: Tensor  # [B, S]
    reference_policy_logprobs: Tensor | None  # [B, S]
    advantages: Tensor  # [B, S]
    token_mask: Tensor  # [B, S]
    sample_mask: Tensor  # [B]
    global_valid_seqs: Tensor  # []
    global_valid_toks: Tensor  # []


@dataclass(frozen=True)
class ObjectiveResult:
    """The loss, and the share of importance weights outside their bounds."""

    loss: PolicyLoss
    importance_out_of_bound_rate: Tensor  # []


@dataclass(frozen=True)
class Objective:
    """ProRL's loss with the settings of one run."""

    config: LossConfig

    def __call__(self, inputs: LossInputs) -> ObjectiveResult:
        config = self.config
        aggregate = (
            partial(aggregate_token_level, global_valid_toks=inputs.global_valid_toks)
            if config.token_level_loss
            else partial(aggregate_sequence_level, global_valid_seqs=inputs.global_valid_seqs)
        )
        on_policy_kl = config.use_on_policy_kl_approximation
        loss = prorl_loss(
            curr_logprobs=inputs.curr_logprobs,
            prev_logprobs=inputs.prev_logprobs,
            reference_policy_logprobs=inputs.reference_policy_logprobs,
            advantages=inputs.advantages,
            token_mask=inputs.token_mask,
            sample_mask=inputs.sample_mask,
            importance_weights=self._importance_weights(inputs),
            ratio_clip_min=config.ratio_clip_min,
            ratio_clip_max=config.ratio_clip_max,
            ratio_clip_c=config.ratio_clip_c,
            kl_penalty=config.reference_policy_kl_penalty,
            kl_estimator=partial(
                KL_ESTIMATORS[config.reference_policy_kl_type],
                input_clamp=config.kl_input_clamp_value,
                output_clamp=config.kl_output_clamp_value,
            ),
            kl_sampling_logprobs=(
                inputs.generation_logprobs if on_policy_kl else inputs.curr_logprobs.detach()
            ),
            aggregate=aggregate,
        )
        return ObjectiveResult(loss, self._out_of_bound_rate(inputs))

    def _importance_weights(self, inputs: LossInputs) -> Tensor | None:
        """pi_prev / pi_generation per token, truncated as configured; None is 1."""
        config = self.config
        if not config.use_importance_sampling_correction:
            return None
        log_ratio = inputs.prev_logprobs - inputs.generation_logprobs
        kind = config.truncated_importance_sampling_type
        if kind is None:
            return compute_importance_weights(log_ratio, token_mask=inputs.token_mask)
        low, high = self._bounds()
        return TRUNCATIONS[kind](
            log_ratio, token_mask=inputs.token_mask, ratio_min=low, ratio_max=high
        )

    def _out_of_bound_rate(self, inputs: LossInputs) -> Tensor:
        kind = self.config.truncated_importance_sampling_type
        if kind is None:
            return torch.zeros_like(inputs.global_valid_toks, dtype=torch.float32)
        log_ratio = inputs.prev_logprobs - inputs.generation_logprobs
        low, high = self._bounds()
        if kind == "seq-mask-tis":
            ratio = compute_sequence_mean_ratio(log_ratio, token_mask=inputs.token_mask)
            mask, count = inputs.sample_mask.bool(), inputs.global_valid_seqs
        else:
            ratio = compute_importance_weights(log_ratio, token_mask=inputs.token_mask)
            mask = inputs.token_mask.bool() & inputs.sample_mask.bool()[:, None]
            count = inputs.global_valid_toks
        return compute_out_of_bound_rate(
            ratio, mask=mask, ratio_min=low, ratio_max=high, global_count=count
        )

    def _bounds(self) -> tuple[float, float]:
        config = self.config
        assert config.truncated_importance_sampling_ratio is not None, "checked at load"
        low = config.truncated_importance_sampling_ratio_min or 0.0
        return low, config.truncated_importance_sampling_ratio
