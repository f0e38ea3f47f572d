"""LocalEngine: the eight verbs in one process, on a CPU or one CUDA device.

Generation shares the policy's weights, so ``refit`` has nothing to move. The model is never
in training mode: RL compares log-probabilities, and dropout would make them noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from prorl_nemo.config_campaign import Config
from prorl_nemo.engines.local.forward import (
    ResponseRows,
    compute_logprobs_and_entropy,
    make_micro_batches,
)
from prorl_nemo.engines.local.generate import Response, SamplingSettings, sample_responses
from prorl_nemo.engines.local.model import (
    load_codec,
    load_policy,
    load_weights,
    save_weights,
)
from prorl_nemo.engines.local.optimizer import WarmedAdamW
from prorl_nemo.engines.local.reference import ReferenceWeights
from prorl_nemo.engines.local.rollouts import make_rollout_batch, summarize_validation
from prorl_nemo.engines.local.sampled_values import SampledEntropies
from prorl_nemo.engines.local.scoring import BackgroundScoring, Scorer
from prorl_nemo.engines.local.update import (
    NOTHING_YET,
    add_share,
    make_loss_inputs,
    mean_metrics,
)
from prorl_nemo.objective import Objective
from prorl_nemo.seeding import seeded_generator
from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.types import (
    PromptGroup,
    RolloutBatch,
    TrainBatch,
    TrainMetrics,
    ValidationResult,
)

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class LocalEngine:
    """Implements ``engine.Engine`` with a Hugging Face model."""

    def __init__(self, config: Config, scorer: Scorer) -> None:
        """Load policy and reference; raises ValueError when the model can't be used."""
        self._config = config
        self._scorer = scorer
        self._policy = load_policy(config.policy)
        self._codec = load_codec(config.policy, self._policy)
        self._reference = ReferenceWeights.of_base(self._policy, config.policy.model_name)
        self._optimizer = WarmedAdamW(
            self._policy, config.policy.optimizer, max_grad_norm=config.policy.max_grad_norm
        )
        self._objective = Objective(config.loss_fn)
        self._device = self._policy.device
        self._precision = PRECISIONS[config.policy.precision]
        self._sampled = SampledEntropies()

    def rollout(self, prompts: Sequence[PromptGroup], *, step: int) -> RolloutBatch:
        generation = self._config.policy.generation
        problems = [group.problem for group in prompts]
        token_ids, responses, scores = self._sample(
            problems,
            num_samples=self._config.grpo.num_generations_per_prompt,
            temperature=generation.temperature,
            top_p=1.0,
            generator=self._generator("rollout", prompts[0].group_id),
        )
        if self._precision == torch.float32:
            self._sampled.remember(prompts, responses)
        return make_rollout_batch(
            prompts,
            token_ids=token_ids,
            responses=responses,
            scores=scores,
            step=step,
        )

    def compute_logprobs(self, batch: TrainBatch) -> TrainBatch:
        rollouts = batch.rollouts
        known, entropy = self._sampled.lay_out(rollouts)
        prev_logprobs = torch.where(known[:, None], rollouts.generation_logprobs, 0.0)
        self._fill(prev_logprobs, entropy, rollouts, rows=torch.nonzero(~known).flatten())
        with self._reference.in_place_of(self._policy):
            reference_policy_logprobs = torch.zeros_like(prev_logprobs)
            self._fill(reference_policy_logprobs, None, rollouts, rows=torch.arange(len(rollouts)))
        return replace(
            batch,
            prev_logprobs=prev_logprobs,
            reference_policy_logprobs=reference_policy_logprobs,
            entropy=entropy,
        )

    def train(self, batch: TrainBatch) -> TrainMetrics:
        self._sampled.forget()
        size = self._config.policy.train_global_batch_size
        rows = torch.arange(len(batch.rollouts))
        return mean_metrics([self._update(batch, part) for part in torch.split(rows, size)])

    def refit(self) -> None:
        """Nothing to do: generation reads the policy's own weights."""

    def reset_reference(self, pin: Path, *, reset_optimizer: bool) -> None:
        self._reference = ReferenceWeights.pinned(pin)
        if reset_optimizer:
            self._optimizer.clear()

    def validate(
        self, problems: Sequence[Problem], *, num_samples: int, step: int
    ) -> ValidationResult:
        settings = self._config.prorl.validation
        _, responses, scores = self._sample(
            problems,
            num_samples=num_samples,
            temperature=settings.temperature,
            top_p=settings.top_p,
            generator=self._generator("validate", step),
        )
        return summarize_validation(problems, responses, scores)

    def save(self, directory: Path, *, weights_only: bool) -> None:
        save_weights(self._policy, self._codec, directory)
        if not weights_only:
            self._optimizer.save(directory)

    def load(self, directory: Path, *, reference: Path | None) -> None:
        self._sampled.forget()
        load_weights(self._policy, directory)
        self._optimizer.load(directory)
        if reference is not None:
            self._reference = ReferenceWeights.pinned(reference)

    def _sample(
        self,
        problems: Sequence[Problem],
        *,
        num_samples: int,
        temperature: float,
        top_p: float,
        generator: torch.Generator,
    ) -> tuple[list[list[int]], list[list[Response]], list[Score]]:
        """The prompts' token ids, the responses to each, and the scores of all responses."""
        policy = self._config.policy
        token_ids = [self._codec.encode_prompt(problem.prompt) for problem in problems]
        longest = policy.max_total_sequence_length - policy.generation.max_new_tokens
        for problem, ids in zip(problems, token_ids, strict=True):
            if len(ids) > longest:
                raise ValueError(
                    f"policy.max_total_sequence_length: the prompt of {problem.problem_id} has "
                    f"{len(ids)} tokens, {longest} fit"
                )
        settings = SamplingSettings(
            temperature=temperature,
            top_p=top_p,
            max_new_tokens=policy.generation.max_new_tokens,
            max_batch_tokens=policy.generation.max_batch_tokens,
            eos_token_ids=self._codec.eos_token_ids,
        )
        precision = torch.autocast(
            self._device.type, self._precision, enabled=self._precision != torch.float32
        )
        with precision, BackgroundScoring(self._scorer, problems) as scoring:
            responses = sample_responses(
                self._policy,
                token_ids,
                num_samples=num_samples,
                settings=settings,
                generator=generator,
                on_sampled=lambda index, sampled: scoring.submit(
                    index, [self._codec.decode_response(said.tokens) for said in sampled]
                ),
            )
        return token_ids, responses, scoring.scores()

    @torch.no_grad()
    def _fill(
        self, logprobs: Tensor, entropy: Tensor | None, rollouts: RolloutBatch, *, rows: Tensor
    ) -> None:
        """Log-probabilities and entropies of the responses in ``rows`` into [B, S] on the CPU."""
        if not len(rows):
            return
        budget = self._config.policy.dynamic_batching.logprob_mb_tokens
        for part in make_micro_batches(rollouts, rows, max_tokens=budget):
            values = self._forward(rollouts, part)
            part.put(logprobs, values[0].cpu())
            if entropy is not None:
                part.put(entropy, values[1].cpu())

    def _update(self, batch: TrainBatch, rows: Tensor) -> TrainMetrics:
        """One optimizer update on ``rows``, in micro-batches."""
        mask, rollouts = batch.loss_mask[rows], batch.rollouts
        counts = (mask.any(dim=-1).sum().clamp(min=1), mask.sum().clamp(min=1))
        metrics = NOTHING_YET
        budget = self._config.policy.dynamic_batching.train_mb_tokens
        for part in make_micro_batches(rollouts, rows, max_tokens=budget):
            curr_logprobs, _ = self._forward(rollouts, part)
            result = self._objective(make_loss_inputs(batch, part, curr_logprobs, counts=counts))
            result.loss.loss.backward()
            metrics = add_share(metrics, result)
        learning_rate = self._optimizer.learning_rate
        grad_norm = self._optimizer.update(loss=metrics.loss)
        return replace(metrics, grad_norm=grad_norm, learning_rate=learning_rate)

    def _forward(self, rollouts: RolloutBatch, part: ResponseRows) -> tuple[Tensor, Tensor]:
        return compute_logprobs_and_entropy(
            self._policy,
            rollouts,
            part,
            temperature=self._config.policy.generation.temperature,
            precision=self._precision,
        )

    def _generator(self, purpose: str, number: int) -> torch.Generator:
        seed = self._config.grpo.seed
        return seeded_generator(purpose, seed, number, device=self._device.type)
