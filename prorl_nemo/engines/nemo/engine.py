"""NemoEngine: the eight verbs over NeMo-RL's policy, generation and rollouts.

Workers start when they are first needed, with the weights they are to have: Megatron's can't
load a checkpoint later. Training and generation take turns on the cards in the order of
NeMo-RL's own loop. vLLM's sampling is not seeded per request, so a resumed campaign goes on
from the same state but not bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import torch
from nemo_rl.algorithms.grpo import refit_policy_generation
from nemo_rl.utils.checkpoint import CheckpointManager

from prorl_nemo.algorithms.entropy import estimate_entropy
from prorl_nemo.engines.nemo.config import NemoCampaignConfig
from prorl_nemo.engines.nemo.loss_fn import ProRLLossFn
from prorl_nemo.engines.nemo.parts import NemoParts, StartParts, WorkerStart
from prorl_nemo.engines.nemo.reference import ReferenceWorkers
from prorl_nemo.engines.nemo.rollouts import (
    PromptEncoder,
    make_input_batch,
    read_rollout_batch,
    run_rollout,
    summarize_validation,
)
from prorl_nemo.engines.nemo.train_data import (
    BatchLayout,
    make_logprob_data,
    make_train_data,
    read_train_metrics,
    summarize_microbatches,
)
from prorl_nemo.tasks.base import Problem
from prorl_nemo.types import (
    PromptGroup,
    RolloutBatch,
    TrainBatch,
    TrainMetrics,
    ValidationResult,
)

# The DTensor workers save in the background by default; a checkpoint is hashed and renamed here.
SYNCHRONOUS_SAVE = {
    "is_async": False,
    "model_save_format": "safetensors",
    "save_consolidated": False,
}


class NemoEngine:
    """Implements ``engine.Engine`` on NeMo-RL."""

    def __init__(self, config: NemoCampaignConfig, start_parts: StartParts) -> None:
        self._config = config
        self._start_parts = start_parts
        self._running: NemoParts | None = None
        self._loss_fn = ProRLLossFn(config.loss_fn)
        self._is_refit_due = True  # generation starts with dummy weights
        self._logged_step = 0

    def rollout(self, prompts: Sequence[PromptGroup], *, step: int) -> RolloutBatch:
        num_samples = self._config.grpo.num_generations_per_prompt
        batch, metrics = self._generate(prompts, num_samples=num_samples, step=step)
        self._parts.logger.log_metrics(_numbers(metrics), step + 1, prefix="train")
        return batch

    def compute_logprobs(self, batch: TrainBatch) -> TrainBatch:
        policy = self._parts.policy
        policy.prepare_for_lp_inference()
        data = make_logprob_data(batch, self._layout)
        rows, width = batch.token_mask.shape
        zero = torch.zeros(())

        def cut(values: torch.Tensor) -> torch.Tensor:
            missing = width - values.shape[1]
            values = torch.nn.functional.pad(values[:rows], (0, max(missing, 0)))[:, :width]
            return torch.where(batch.token_mask, values, zero)

        prev_logprobs = cut(policy.get_logprobs(data)["logprobs"])
        reference = cut(policy.get_reference_policy_logprobs(data)["reference_logprobs"])
        entropy = estimate_entropy(
            prev_logprobs, sampling_logprobs=batch.rollouts.generation_logprobs
        )
        return replace(
            batch,
            prev_logprobs=prev_logprobs,
            reference_policy_logprobs=reference,
            entropy=torch.where(batch.token_mask, entropy, zero),
        )

    def train(self, batch: TrainBatch) -> TrainMetrics:
        self._refit_if_due()  # a pending refit is owed the weights from before this update
        parts = self._parts
        parts.policy.prepare_for_training()
        results = parts.policy.train(make_train_data(batch, self._layout), self._loss_fn)
        metrics = read_train_metrics(results)
        if not (math.isfinite(metrics.loss) and math.isfinite(metrics.grad_norm)):
            raise FloatingPointError(
                f"loss {metrics.loss:g}, gradient norm {metrics.grad_norm:g}: not finite"
            )
        newest = int(batch.rollouts.policy_step.max())
        self._logged_step = max(self._logged_step, newest) + 1
        parts.logger.log_metrics(summarize_microbatches(results), self._logged_step, prefix="train")
        return metrics

    def refit(self) -> None:
        """Takes place before the next generation: the cards can't hold both until then."""
        self._is_refit_due = True

    def reset_reference(self, pin: Path, *, reset_optimizer: bool) -> None:
        if self._config.prorl.nemo.reset_by == "restart":
            assert reset_optimizer, "checked at load"
            weights = pin / "weights"
            self._restart(WorkerStart(weights=weights, reference=weights))
            return
        policy = self._parts.policy
        policy.prepare_for_lp_inference()
        workers = ReferenceWorkers(policy)
        workers.load_reference(pin / "weights", expect_policy=True)
        if reset_optimizer:
            workers.clear_optimizer_state()

    def validate(
        self, problems: Sequence[Problem], *, num_samples: int, step: int
    ) -> ValidationResult:
        prompts = [PromptGroup(index, problem) for index, problem in enumerate(problems)]
        batch, _ = self._generate(prompts, num_samples=num_samples, step=step)
        result = summarize_validation(batch, num_samples=num_samples)
        metrics = {"accuracy": result.score, "avg_length": result.response_length_mean}
        self._parts.logger.log_metrics(metrics, step, prefix="validation")
        return result

    def save(self, directory: Path, *, weights_only: bool) -> None:
        policy = self._parts.policy
        directory = directory.absolute()  # workers have working directories of their own
        policy.prepare_for_training()
        policy.save_checkpoint(
            weights_path=str(directory / "weights"),
            optimizer_path=None if weights_only else str(directory / "optimizer"),
            tokenizer_path=str(directory / "tokenizer"),
            checkpointing_cfg=SYNCHRONOUS_SAVE,
        )
        if not any((directory / "weights").iterdir()):
            raise OSError(f"{directory}: the workers wrote no weights")
        if not weights_only and _find_checkpoint(directory)[1] is None:
            raise OSError(f"{directory}: the workers wrote no optimizer")

    def load(self, directory: Path, *, reference: Path | None) -> None:
        weights, optimizer = _find_checkpoint(directory)
        if optimizer is None:  # NeMo-RL would warn and begin with a new one
            raise OSError(f"{directory}: the checkpoint has no optimizer")
        pin = reference / "weights" if reference is not None else None
        self._restart(WorkerStart(weights, optimizer, pin))

    def close(self) -> None:
        """End the workers."""
        if self._running is not None:
            self._running.policy_generation.shutdown()
            self._running.policy.shutdown()
        self._running = None

    @property
    def _parts(self) -> NemoParts:
        if self._running is None:
            self._running = self._start_parts(WorkerStart())
        return self._running

    @property
    def _layout(self) -> BatchLayout:
        policy = self._config.policy
        return BatchLayout(
            row_multiple=policy.train_global_batch_size,
            length_multiple=policy.make_sequence_length_divisible_by,
            pad_token_id=self._parts.tokenizer.pad_token_id,
        )

    def _restart(self, start: WorkerStart) -> None:
        self.close()
        self._running = self._start_parts(start)
        self._is_refit_due = True

    def _generate(
        self, prompts: Sequence[PromptGroup], *, num_samples: int, step: int
    ) -> tuple[RolloutBatch, Mapping[str, Any]]:
        policy, parts = self._config.policy, self._parts
        longest = policy.max_total_sequence_length - policy.generation.max_new_tokens
        encoder = PromptEncoder(parts.tokenizer, longest)
        batch = make_input_batch(prompts, encoder, num_samples=num_samples)
        self._wake_generation()
        finished, metrics = run_rollout(
            batch,
            policy_generation=parts.policy_generation,
            environment=parts.environment,
            tokenizer=parts.tokenizer,
            max_total_sequence_length=policy.max_total_sequence_length,
            is_async=policy.generation.vllm_cfg.async_engine,
        )
        parts.policy_generation.finish_generation()
        failures = ray.get(parts.environment.take_failures.remote())
        return read_rollout_batch(finished, failures, step=step), metrics

    def _wake_generation(self) -> None:
        if self._is_refit_due:
            self._refit_now()
            return
        if self._is_colocated:
            self._parts.policy.offload_after_refit()
        self._parts.policy_generation.prepare_for_generation()

    def _refit_if_due(self) -> None:
        if self._is_refit_due:
            self._refit_now()
            self._parts.policy_generation.finish_generation()

    def _refit_now(self) -> None:
        parts = self._parts
        refit_policy_generation(parts.policy, parts.policy_generation, self._is_colocated)
        self._is_refit_due = False

    @property
    def _is_colocated(self) -> bool:
        return self._config.policy.generation.colocated.enabled


def _find_checkpoint(directory: Path) -> tuple[Path | None, Path | None]:
    """Weights and optimizer for new workers, by NeMo-RL's own rule, of ``save``'s directory."""
    found: tuple[Path | None, Path | None] = CheckpointManager.get_resume_paths(directory.parent)
    return found


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(v) for name, v in metrics.items() if isinstance(v, int | float)}
