"""The campaign's configuration: what may be said, and what may not.

Every section that this project owns is a strict model, so a misspelt key is an error
that names it. Defaults live in the YAML files under ``conf/`` and nowhere else. Reading
files and overrides is ``config_loading``'s work; nothing here touches a file.

Key names are NeMo-RL's wherever NeMo-RL has the setting; what only ProRL needs is under
``prorl``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
# A plain key: it becomes part of file names and of metric names.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class Section(BaseModel):
    """A strict, immutable group of keys."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


class AdvantageConfig(Section):
    name: Literal["grpo", "leave_one_out", "reinforce_plus_plus_baseline"]
    """Baseline and scale of the advantage."""
    normalize_rewards: bool
    """Divide by the group's standard deviation (grpo and leave_one_out)."""


class RewardShapingConfig(Section):
    overlong_buffer_length: Positive | None
    """Tokens before the response limit from which DAPO's linear penalty grows; null is off."""
    overlong_buffer_penalty: NonNegativeFloat
    """The penalty at the response limit."""
    stop_properly_penalty_coef: Fraction | None
    """Factor on the reward of a response that did not end; null is off."""


class LengthRewardConfig(Section):
    """ProRL v2's cosine length reward, R + coefficient * eta(t)."""

    coefficient: NonNegativeFloat
    """Weight of the reward; 0 is off."""
    eta_min: float
    """eta at the response limit."""
    eta_max: float
    """eta at length 0."""
    period_steps: Positive
    """Length of the on/off cycle in training steps."""
    active_steps: NonNegative
    """Steps of each cycle in which the reward is on."""


class GrpoConfig(Section):
    num_prompts_per_step: Positive
    """Informative groups that one training step learns from."""
    num_generations_per_prompt: Annotated[int, Field(ge=2)]
    """Responses in a group, the paper's n; an advantage needs at least 2."""
    val_period: NonNegative
    """Steps between validations; 0 is never."""
    val_at_start: bool
    """Validate before the first step."""
    overlong_filtering: bool
    """Leave truncated responses out of the loss."""
    seed: NonNegative
    """Seed of everything random."""
    adv_estimator: AdvantageConfig
    reward_shaping: RewardShapingConfig


class LossConfig(Section):
    reference_policy_kl_penalty: NonNegativeFloat
    """beta, the weight of KL(policy, reference) in the loss."""
    reference_policy_kl_type: Literal["k1", "k2", "k3"]
    """Schulman's estimator of the KL divergence."""
    kl_input_clamp_value: PositiveFloat | None
    """Bound on the absolute log-ratio that enters the estimator."""
    kl_output_clamp_value: PositiveFloat | None
    """Bound on the estimate of a token."""
    ratio_clip_min: Annotated[float, Field(gt=0, lt=1)]
    """Lower clip: the ratio is kept above 1 - this."""
    ratio_clip_max: PositiveFloat
    """Upper clip: the ratio is kept below 1 + this."""
    ratio_clip_c: Annotated[float, Field(gt=1)] | None
    """Dual clip: bound on the loss of a token with negative advantage; null is off."""
    token_level_loss: bool
    """Average over tokens; otherwise over the means of the sequences."""
    use_on_policy_kl_approximation: bool
    """Weigh the KL by pi / pi_generation, value and gradient; otherwise by the gradient only."""
    use_importance_sampling_correction: bool
    """Weigh the loss by pi_prev / pi_generation: sampling is not exactly the training policy."""
    truncated_importance_sampling_type: Literal["tis", "icepop", "seq-mask-tis"] | None
    """Correction for sampling with other log-probabilities than training's; null is off."""
    truncated_importance_sampling_ratio: PositiveFloat | None
    """Upper bound of the importance weight."""
    truncated_importance_sampling_ratio_min: NonNegativeFloat | None
    """Lower bound of the importance weight; tis takes null as 0."""

    @model_validator(mode="after")
    def _bounds_of_the_importance_weights(self) -> LossConfig:
        kind = self.truncated_importance_sampling_type
        low = self.truncated_importance_sampling_ratio_min
        if kind is not None and not self.use_importance_sampling_correction:
            raise ValueError(
                f"truncated_importance_sampling_type: {kind} needs "
                "use_importance_sampling_correction=true"
            )
        if kind is not None and self.truncated_importance_sampling_ratio is None:
            raise ValueError(f"truncated_importance_sampling_ratio: {kind} needs an upper bound")
        if kind in ("icepop", "seq-mask-tis") and low is None:
            raise ValueError(f"truncated_importance_sampling_ratio_min: {kind} needs a lower bound")
        return self


class TokenizerConfig(Section):
    name: str
    """Directory or hub name of the tokenizer."""


class GenerationConfig(Section):
    max_new_tokens: Positive
    """Response limit in tokens."""
    temperature: PositiveFloat
    """Sampling temperature of the rollouts; log-probabilities are taken at it as well."""
    max_batch_tokens: Positive
    """Token slots (rows x longest row) that are decoded side by side."""


class DynamicBatchingConfig(Section):
    train_mb_tokens: Positive
    """Token slots of one forward and backward pass, padding included."""
    logprob_mb_tokens: Positive
    """Token slots of one forward pass without gradients, padding included."""


class OptimizerConfig(Section):
    """AdamW with a constant learning rate after a linear warm-up."""

    lr: PositiveFloat
    betas: tuple[Fraction, Fraction]
    eps: PositiveFloat
    weight_decay: NonNegativeFloat
    warmup_updates: NonNegative
    """Optimizer updates over which the learning rate rises, at the start and after a reset."""


class PolicyConfig(Section):
    model_name: str
    """Hugging Face directory or hub name; ``tiny`` makes a model (prorl.tiny_model)."""
    tokenizer: TokenizerConfig
    precision: Literal["float32", "bfloat16"]
    device: Literal["cpu", "cuda", "auto"]
    """Where the model lives; auto takes CUDA where there is one."""
    num_cpu_threads: Positive
    """Threads of one operation on a CPU; another number rounds differently."""
    train_global_batch_size: Positive
    """Responses per optimizer update."""
    max_total_sequence_length: Positive
    """Prompt and response tokens together."""
    max_grad_norm: PositiveFloat
    dynamic_batching: DynamicBatchingConfig
    optimizer: OptimizerConfig
    generation: GenerationConfig


class CheckpointingConfig(Section):
    checkpoint_dir: str
    """The run directory: checkpoints, pinned references, metrics and the report."""
    save_period: Positive
    """Steps between checkpoints."""
    keep_top_k: Annotated[int, Field(ge=2)]
    """Newest checkpoints kept; pinned references and ends of runs do not count."""


class WandbConfig(Section):
    project: str
    name: str | None


class LoggerConfig(Section):
    tensorboard_enabled: bool
    wandb_enabled: bool
    wandb: WandbConfig


class DynamicSamplingConfig(Section):
    enabled: bool
    """Keep only groups with reward spread, and sample until the step is full."""
    tolerance: NonNegativeFloat
    """A group is informative when its largest and smallest reward differ by more than this."""
    request_margin_std: NonNegativeFloat
    """Standard deviations of the informative count that a request adds to what is missing."""
    max_request_factor: Annotated[float, Field(ge=1)]
    """A step gives up after this many times num_prompts_per_step prompts, and says so."""
    max_staleness_steps: NonNegative
    """Steps that a surplus group may wait for its turn."""


class ResetConfig(Section):
    """When the reference is set to the current policy. Several triggers may be on."""

    period_steps: Positive | None
    """Reset after this many steps; null is off."""
    patience: Positive | None
    """Validations without improvement before a reset; null is off."""
    min_improvement: NonNegativeFloat
    """Rise of the validation score that counts as improvement."""
    degradation: PositiveFloat | None
    """Fall below the best validation score that triggers a reset at once; null is off."""
    kl_ceiling: PositiveFloat | None
    """Mean KL to the reference, in nats per token, that triggers a reset; null is off."""
    entropy_floor: PositiveFloat | None
    """Mean entropy, in nats per token, below which a reset is triggered; null is off."""
    min_gap_steps: Positive
    """Least number of steps between two resets, by hand excepted."""
    reset_optimizer: bool
    """Clear the optimizer's moments with the reference: true in the paper, false in ProRL v2."""
    max_kl_after_reset: PositiveFloat
    """The run stops if the KL right after a reset exceeds this: the reset did not take."""


class TaskConfig(Section):
    name: Name
    """Name in metrics and reports; unique within its list."""
    task: str
    """Which task: reasoning_gym/<data set>, or a domain of ``prorl_nemo.tasks.registry``."""
    weight: PositiveFloat
    """Share of the prompts, relative to the other tasks."""
    num_problems: Positive | None
    """Size of the data set, or how many problems to take from a file; null: all of the file."""
    seed: NonNegative
    """Reasoning Gym: item i has seed + i, so keep seeds further apart than sizes. Files: which
    problems are taken."""
    params: dict[str, object]
    """Settings of the task: see ``prorl_nemo.tasks.registry``."""
