"""What one run of the schedule needs beside its engine, and what is due when in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prorl_nemo.checkpointing import CheckpointStore
from prorl_nemo.config_campaign import Config
from prorl_nemo.data.prompt_stream import PromptStream
from prorl_nemo.engine import Engine
from prorl_nemo.metrics import MetricsWriter
from prorl_nemo.run_requests import RunRequests
from prorl_nemo.run_schedule import ScheduledRun
from prorl_nemo.tasks.base import Problem
from prorl_nemo.train_state import TrainState
from prorl_nemo.types import ValidationResult


@dataclass(frozen=True)
class RunContext:
    """Built once per run; nothing here changes but the position of ``prompts``."""

    config: Config  # in force during this run
    run: ScheduledRun
    prompts: PromptStream
    validation_problems: Sequence[Problem]
    store: CheckpointStore
    requests: RunRequests
    writers: Sequence[MetricsWriter]

    def is_validation_due(self, step: int) -> bool:
        """Whether ``grpo.val_period`` asks for a validation behind ``step``."""
        period = self.config.grpo.val_period
        return bool(period) and step % period == 0

    def validate(self, engine: Engine, step: int) -> ValidationResult:
        """Validate on the held-out problems with the configured number of samples."""
        num_samples = self.config.prorl.validation.num_samples
        return engine.validate(self.validation_problems, num_samples=num_samples, step=step)

    def is_save_due(self, state: TrainState) -> bool:
        """Whether to save now: asked for, on the period, at an end, after a reset by hand."""
        pending, is_asked = self.requests.reset_request(), self.requests.take_save()
        return (
            is_asked
            or state.step % self.config.checkpointing.save_period == 0
            or state.step == self.run.end_step
            or state.step in self.store.kept_steps
            or (pending is not None and pending == state.reset.handled_request)
        )
