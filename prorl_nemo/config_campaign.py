"""The campaign's ``prorl`` section and the whole: validation data, schedule, tiny model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from prorl_nemo.config import (
    CheckpointingConfig,
    DynamicSamplingConfig,
    GrpoConfig,
    LengthRewardConfig,
    LoggerConfig,
    LossConfig,
    Name,
    NonNegative,
    PolicyConfig,
    Positive,
    PositiveFloat,
    ResetConfig,
    Section,
    TaskConfig,
)

Share = Annotated[float, Field(gt=0, le=1)]


class ValidationConfig(Section):
    tasks: list[TaskConfig]
    num_samples: Positive
    """Responses per problem."""
    temperature: PositiveFloat
    top_p: Share


class EvaluationTaskConfig(TaskConfig):
    role: Literal["trained", "held_out_task", "sweep"]
    """Trained on, never trained on, or one difficulty of a sweep."""
    sweep_group: Name | None
    """Name of the sweep that the task belongs to."""
    sweep_value: float | None
    """Its difficulty in that sweep."""


class EvaluationConfig(Section):
    """pass@k of base, intermediate and final model at the end of a campaign."""

    backend: Literal["local", "vllm"]
    """What samples: the local engine, or vLLM where it is installed."""
    tasks: list[EvaluationTaskConfig]
    num_samples: Positive
    """Responses per problem; pass@k is reported for k up to this."""
    temperature: PositiveFloat
    top_p: Share
    max_new_tokens: Positive
    """Response limit in tokens."""
    seed: NonNegative
    intermediate_step: NonNegative
    """Step of the intermediate model; 0 leaves it out."""


class RunConfig(Section):
    """One run of the schedule: its length and what it changes."""

    name: Name
    num_steps: Positive
    reset_at_start: bool
    """Hard reset of the reference as the run begins."""
    overrides: dict[str, object]
    """Dotted keys of this file and the values they have during this run."""


class WarmStartConfig(Section):
    """Supervised training of the tiny model on worked examples before RL starts."""

    num_steps: Positive
    batch_size: Positive
    lr: PositiveFloat
    tasks: list[TaskConfig]


class TinyModelConfig(Section):
    """A Qwen2 model made from scratch when policy.model_name is ``tiny``."""

    hidden_size: Positive
    num_hidden_layers: Positive
    num_attention_heads: Positive
    num_key_value_heads: Positive
    intermediate_size: Positive
    warm_start: WarmStartConfig


class RewardsConfig(Section):
    """The pool that scores responses. Cheap tasks are scored in the trainer itself."""

    num_workers: Positive
    """Processes for tasks whose scorers may hang or run model text."""
    timeout_seconds: PositiveFloat
    """Wall time for one response; its worker is killed behind it and the reward is 0."""


class ProrlConfig(Section):
    engine: Literal["local", "nemo"]
    train_tasks: Annotated[list[TaskConfig], Field(min_length=1)]
    """The training mixture."""
    validation: ValidationConfig
    evaluation: EvaluationConfig
    rewards: RewardsConfig
    dynamic_sampling: DynamicSamplingConfig
    reset: ResetConfig
    length_reward: LengthRewardConfig
    schedule: Annotated[list[RunConfig], Field(min_length=1)]
    """The runs of the campaign, in order."""
    tiny_model: TinyModelConfig


class Config(Section):
    grpo: GrpoConfig
    loss_fn: LossConfig
    policy: PolicyConfig
    checkpointing: CheckpointingConfig
    logger: LoggerConfig
    prorl: ProrlConfig

    @model_validator(mode="after")
    def _tasks_have_one_name_each(self) -> Config:
        prorl = self.prorl
        for key, tasks in (
            ("prorl.train_tasks", prorl.train_tasks),
            ("prorl.validation.tasks", prorl.validation.tasks),
            ("prorl.evaluation.tasks", prorl.evaluation.tasks),
            ("prorl.tiny_model.warm_start.tasks", prorl.tiny_model.warm_start.tasks),
            ("prorl.schedule", prorl.schedule),
        ):
            names = [entry.name for entry in tasks]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{key}: {twice[0]} is listed twice")
        return self

    @model_validator(mode="after")
    def _lengths_fit(self) -> Config:
        limit = self.policy.generation.max_new_tokens
        if limit >= self.policy.max_total_sequence_length:
            raise ValueError(
                "policy.generation.max_new_tokens: leaves no room for a prompt within "
                "policy.max_total_sequence_length"
            )
        buffer = self.grpo.reward_shaping.overlong_buffer_length
        if buffer is not None and buffer > limit:
            raise ValueError(
                "grpo.reward_shaping.overlong_buffer_length: exceeds "
                "policy.generation.max_new_tokens"
            )
        if self.prorl.length_reward.active_steps > self.prorl.length_reward.period_steps:
            raise ValueError("prorl.length_reward.active_steps: exceeds period_steps")
        return self

    @model_validator(mode="after")
    def _resets_have_what_they_watch(self) -> Config:
        reset = self.prorl.reset
        watches = reset.patience is not None or reset.degradation is not None
        if watches and self.grpo.val_period == 0:
            raise ValueError(
                "grpo.val_period: prorl.reset.patience and degradation watch the validation, "
                "which 0 turns off"
            )
        if reset.period_steps is not None and reset.period_steps < reset.min_gap_steps:
            raise ValueError(
                "prorl.reset.period_steps: shorter than prorl.reset.min_gap_steps, which would win"
            )
        if self.grpo.val_period and not self.prorl.validation.tasks:
            raise ValueError("prorl.validation.tasks: empty, but grpo.val_period asks for them")
        return self

    @model_validator(mode="after")
    def _batch_splits_into_whole_groups(self) -> Config:
        size, group = self.policy.train_global_batch_size, self.grpo.num_generations_per_prompt
        if size % group:
            raise ValueError(
                f"policy.train_global_batch_size: {size} is not a multiple of "
                f"grpo.num_generations_per_prompt ({group})"
            )
        return self
