"""prorl_train(): the only training loop.

It knows the Engine protocol and nothing of models, devices or clusters. One call trains
one run of the schedule, from where ``state`` is to the run's end or to a request to stop;
the caller builds a fresh engine for the next run, the same path that a requeued job takes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from prorl_nemo.batching import make_train_batch
from prorl_nemo.config_campaign import Config
from prorl_nemo.dynamic_sampling import SamplerState, sample_informative_groups
from prorl_nemo.engine import Engine
from prorl_nemo.reference_reset import Observation, ResetController, ResetReason
from prorl_nemo.run_context import RunContext
from prorl_nemo.step_record import (
    StepRecord,
    Stopwatch,
    make_step_record,
    observe,
    reference_kl,
)
from prorl_nemo.train_state import TrainState
from prorl_nemo.types import RolloutBatch, TrainBatch, TrainMetrics

Outcome = Literal["run_finished", "stopped"]


def prorl_train(engine: Engine, context: RunContext, state: TrainState) -> Outcome:
    """Train from ``state``, which ``engine`` has loaded, to the end of the run.

    Saves on request, every ``checkpointing.save_period`` steps, after a reset by hand and at
    the end. Raises FloatingPointError on a non-finite loss and RuntimeError when a reset did
    not take; the checkpoints are then as they were.
    """
    if state.run_index != context.run.index:
        state = _begin_run(engine, context, state)
    while state.step < context.run.end_step:
        state = _train_step(engine, context, state)
        stop = context.requests.stop_reason() is not None
        if context.is_save_due(state) or stop:
            context.store.save(engine, state)
            context.requests.drop_reset(state.reset.handled_request)
        if stop and state.step < context.run.end_step:
            return "stopped"
    return "run_finished"


def _train_step(engine: Engine, context: RunContext, state: TrainState) -> TrainState:
    config, step, watch = context.config, state.step + 1, Stopwatch()
    run_start = "run_start" if state.is_behind_run_start else None
    sampled = sample_informative_groups(
        lambda groups: engine.rollout(groups, step=state.step),
        context.prompts,
        state.sampler,
        step=step,
        num_groups=config.grpo.num_prompts_per_step,
        config=config.prorl.dynamic_sampling,
    )
    watch.lap("rollout_seconds")
    batch, metrics = _learn(engine, sampled.rollouts, state, config=config)
    watch.lap("train_seconds")
    validation = context.validate(engine, step) if context.is_validation_due(step) else None
    record = make_step_record(
        step, context.run.name, sampled=sampled, batch=batch, metrics=metrics, validation=validation
    )
    seen = observe(record, request=context.requests.reset_request())
    state = state.after_step(
        sampled, position=context.prompts.position, score=record.validation_score
    )
    state, reason = _reset_if_due(engine, context, state, seen)
    for writer in context.writers:
        writer.write(replace(record, reset=reason or run_start, seconds=watch.seconds()))
    return state


def _learn(
    engine: Engine, rollouts: RolloutBatch | None, state: TrainState, *, config: Config
) -> tuple[TrainBatch | None, TrainMetrics | None]:
    """The step's updates; nothing happens when no informative group was found."""
    if rollouts is None:
        return None, None
    batch = make_train_batch(rollouts, config, step=state.step + 1)
    batch = engine.compute_logprobs(batch)
    if state.is_behind_reset:
        _check_reset_took(batch, limit=config.prorl.reset.max_kl_after_reset)
    metrics = engine.train(batch)
    engine.refit()
    return batch, metrics


def _begin_run(engine: Engine, context: RunContext, state: TrainState) -> TrainState:
    seen = Observation(step=state.step, is_run_start=context.run.reset_at_start)
    if state.step == 0 and context.config.grpo.val_at_start:
        validation = context.validate(engine, 0)
        seen = replace(seen, validation_score=validation.score)
        record = StepRecord(0, context.run.name, validation=validation)
        for writer in context.writers:
            writer.write(record)
    # Another mixture has another score and pass rate; surplus groups have another size or limit.
    state = replace(
        state,
        run_index=context.run.index,
        reset=replace(state.reset, best_score=None),
        sampler=SamplerState(next_group_id=state.sampler.next_group_id),
    )
    state, _ = _reset_if_due(engine, context, state, seen)
    context.store.save(engine, state)
    return state


def _reset_if_due(
    engine: Engine, context: RunContext, state: TrainState, seen: Observation
) -> tuple[TrainState, ResetReason | None]:
    """Pin, load the pin as the reference, record: in this order, each safe to repeat."""
    config = context.config.prorl.reset
    reset, reason = ResetController(config).decide(state.reset, seen)
    state = replace(state, reset=reset)
    if reason is None:
        return state, None
    event = context.store.pin(engine, step=seen.step, reason=reason)
    engine.reset_reference(context.store.pin_path(event), reset_optimizer=config.reset_optimizer)
    return replace(state, resets=(*state.resets, event)), reason


def _check_reset_took(batch: TrainBatch, *, limit: float) -> None:
    kl = reference_kl(batch)
    if kl > limit:
        raise RuntimeError(
            f"KL to the reference is {kl:.3g} right after a reset "
            f"(prorl.reset.max_kl_after_reset: {limit:g}): the reset did not take"
        )
