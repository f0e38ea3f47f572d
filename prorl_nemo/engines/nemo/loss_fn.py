"""ProRL's loss as a NeMo-RL LossFunction, usable in NeMo-RL's own ``grpo_train`` as well.

The arithmetic is ``prorl_nemo.objective``'s, the same that the local engine minimises. This
module adapts shapes and names, and keeps every metric on the device.
"""

from __future__ import annotations

from typing import Any

from nemo_rl.algorithms.loss.interfaces import LossInputType, LossType
from nemo_rl.algorithms.loss.loss_functions import ClippedPGLossConfig
from torch import Tensor

from prorl_nemo.config import LossConfig
from prorl_nemo.engines.nemo.loss_metrics import (
    SamplerMismatch,
    compute_ratio_histogram,
    compute_sampler_mismatch,
    on_device,
)
from prorl_nemo.objective import LossInputs, Objective, ObjectiveResult

# Settings of NeMo-RL's loss that ProRL has no use for, and the values under which they are off.
OFF = {
    "disable_ppo_ratio": False,
    "sequence_level_importance_ratios": False,
    "use_kl_in_reward": False,
    "force_on_policy_ratio": False,
    "use_cispo": False,
    "positive_example_nll_weight": 0.0,
}


class ProRLLossFn:
    """Clipped policy gradient, KL to a reference that moves, sampler correction.

    Hand an instance to ``grpo_train`` or to ``Policy.train``. It is picklable, and all of its
    metrics are shares of the global batch: sums over microbatches and ranks give the batch's.
    """

    input_type = LossInputType.LOGPROB

    def __init__(self, config: LossConfig) -> None:
        self.config = config
        self.loss_type = (
            LossType.TOKEN_LEVEL if config.token_level_loss else LossType.SEQUENCE_LEVEL
        )
        self._objective = Objective(config)

    def __call__(
        self,
        next_token_logprobs: Tensor,  # [B, S - 1], of tokens 1 .. S - 1
        data: Any,  # BatchedDataDict of [B, S] tensors and sample_mask [B]
        global_valid_seqs: Tensor,  # []
        global_valid_toks: Tensor,  # []
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The microbatch's share of the loss, and metrics that stay on the device.

        Raises ValueError when top-k or top-p filtering made other log-probabilities for the KL.
        """
        if "curr_logprobs_unfiltered" in data:
            raise ValueError("policy.generation.top_k, top_p: ProRL samples without filtering")
        inputs = LossInputs(
            curr_logprobs=next_token_logprobs,
            prev_logprobs=data["prev_logprobs"][:, 1:],
            generation_logprobs=data["generation_logprobs"][:, 1:],
            reference_policy_logprobs=self._reference(data),
            advantages=data["advantages"][:, 1:],
            token_mask=data["token_mask"][:, 1:].bool(),
            sample_mask=data["sample_mask"].bool(),
            # A batch without a valid token has loss 0, not 0 / 0.
            global_valid_seqs=global_valid_seqs.clamp(min=1),
            global_valid_toks=global_valid_toks.clamp(min=1),
        )
        result = self._objective(inputs)
        metrics = self._metrics(result, inputs)
        return result.loss.loss, {name: on_device(value) for name, value in metrics.items()}

    def _reference(self, data: Any) -> Tensor | None:
        # Without a penalty NeMo-RL's own loop sends zeros instead of a reference.
        if self.config.reference_policy_kl_penalty == 0:
            return None
        reference: Tensor = data["reference_policy_logprobs"][:, 1:]
        return reference

    def _metrics(self, result: ObjectiveResult, inputs: LossInputs) -> dict[str, Tensor]:
        """NeMo-RL's names where it has the metric, ours under ``prorl/``."""
        loss = result.loss
        mismatch: SamplerMismatch = compute_sampler_mismatch(inputs, self.config)
        return {
            "loss": loss.loss,
            "probs_ratio": loss.ratio_mean,
            "probs_ratio_min": loss.ratio_min,
            "probs_ratio_max": loss.ratio_max,
            "kl_penalty": loss.kl,
            "num_valid_samples": inputs.sample_mask.sum(),
            "is_oob_ratio": result.importance_out_of_bound_rate,
            "token_mult_prob_error": mismatch.mult_prob_error,
            "gen_kl_error": mismatch.gen_kl,
            "policy_kl_error": mismatch.policy_kl,
            "js_divergence_error": mismatch.js_divergence,
            "sampling_importance_ratio": mismatch.importance_ratio,
            "approx_entropy": mismatch.approx_entropy,
            "prorl/policy_loss": loss.policy_loss,
            "prorl/clip_fraction_low": loss.clip_fraction_low,
            "prorl/clip_fraction_high": loss.clip_fraction_high,
            "prorl/log_ratio_histogram": compute_ratio_histogram(inputs),
        }


def make_loss_fn(settings: Any) -> ProRLLossFn:
    """ProRLLossFn from NeMo-RL's ``loss_fn`` section: a mapping, or a ClippedPGLossConfig.

    Keys that are left out have NeMo-RL's defaults. Raises ValueError that names a setting
    ProRL's loss has not got.
    """
    given = ClippedPGLossConfig.model_validate(settings).model_dump()
    for key, off in OFF.items():
        if given.pop(key, off) != off:
            raise ValueError(f"loss_fn.{key}: not part of ProRL's loss; set it to {off}")
    return ProRLLossFn(LossConfig.model_validate(given))
