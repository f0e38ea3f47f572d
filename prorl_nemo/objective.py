"""The ``loss_fn`` section turned into functions, once, for both engines.

Below this module there are no modes: ``algorithms.losses`` gets floats and callables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from prorl_nemo.algorithms.importance import (
    compute_importance_weights,
    compute_out_of_bound_rate,
    compute_sequence_mean_ratio,
    truncate_icepop,
    truncate_sequences,
    truncate_tis,
)
from prorl_nemo.algorithms.kl import estimate_k1, estimate_k2, estimate_k3
from prorl_nemo.algorithms.losses import (
    PolicyLoss,
    prorl_loss,
    weigh_samples_equally,
    weigh_tokens_equally,
)
from prorl_nemo.algorithms.masking import TokenSelector, combine_masks
from prorl_nemo.config import LossConfig

KL_ESTIMATORS = {"k1": estimate_k1, "k2": estimate_k2, "k3": estimate_k3}
TRUNCATIONS: dict[str, Callable[..., Tensor]] = {"tis": truncate_tis, "icepop": truncate_icepop}


@dataclass(frozen=True)
class LossInputs:
    """A microbatch of the loss. Counts are those of the whole optimizer update.

    The properties are what the loss and its metrics share; each is computed once.
    """

    curr_logprobs: Tensor  # [B, S], the only input with a gradient
    prev_logprobs: Tensor  # [B, S]
    generation_logprobs: Tensor  # [B, S]
    reference_policy_logprobs: Tensor | None  # [B, S]
    advantages: Tensor  # [B, S]
    token_mask: Tensor  # [B, S]
    sample_mask: Tensor  # [B]
    global_valid_seqs: Tensor  # []
    global_valid_toks: Tensor  # []

    @cached_property
    def mask(self) -> Tensor:  # [B, S] bool
        return combine_masks(self.token_mask, sample_mask=self.sample_mask)

    @cached_property
    def select(self) -> TokenSelector:
        return TokenSelector(self.mask, dtype=self.curr_logprobs.dtype)

    @cached_property
    def sampler_log_ratio(self) -> Tensor:
        """log pi_prev / pi_generation per token, [B, S], without gradient."""
        return (self.prev_logprobs - self.generation_logprobs).detach()

    @cached_property
    def sampler_ratio(self) -> Tensor:
        """pi_prev / pi_generation per token, [B, S]; 0 outside the mask."""
        return compute_importance_weights(self.sampler_log_ratio, token_mask=self.mask)


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
        per_token = config.token_level_loss
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
            weigh=weigh_tokens_equally if per_token else weigh_samples_equally,
            global_count=inputs.global_valid_toks if per_token else inputs.global_valid_seqs,
        )
        return ObjectiveResult(loss, self._out_of_bound_rate(inputs))

    def _importance_weights(self, inputs: LossInputs) -> Tensor | None:
        """pi_prev / pi_generation per token, truncated as configured; None is 1."""
        config = self.config
        if not config.use_importance_sampling_correction:
            return None
        kind = config.truncated_importance_sampling_type
        if kind is None:
            return inputs.sampler_ratio
        low, high = self._bounds()
        if kind == "seq-mask-tis":
            return truncate_sequences(
                inputs.sampler_ratio,
                mean_ratio=self._sequence_mean_ratio(inputs),
                ratio_min=low,
                ratio_max=high,
            )
        return TRUNCATIONS[kind](inputs.sampler_ratio, ratio_min=low, ratio_max=high)

    def _out_of_bound_rate(self, inputs: LossInputs) -> Tensor:
        kind = self.config.truncated_importance_sampling_type
        if kind is None:
            return torch.zeros_like(inputs.global_valid_toks, dtype=torch.float32)
        if kind == "seq-mask-tis":
            ratio, mask = self._sequence_mean_ratio(inputs), inputs.sample_mask
            count = inputs.global_valid_seqs
        else:
            ratio, mask, count = inputs.sampler_ratio, inputs.mask, inputs.global_valid_toks
        low, high = self._bounds()
        return compute_out_of_bound_rate(
            ratio, mask=mask, ratio_min=low, ratio_max=high, global_count=count
        )

    def _sequence_mean_ratio(self, inputs: LossInputs) -> Tensor:
        return compute_sequence_mean_ratio(inputs.sampler_log_ratio, token_mask=inputs.token_mask)

    def _bounds(self) -> tuple[float, float]:
        config = self.config
        assert config.truncated_importance_sampling_ratio is not None, "checked at load"
        low = config.truncated_importance_sampling_ratio_min or 0.0
        return low, config.truncated_importance_sampling_ratio
