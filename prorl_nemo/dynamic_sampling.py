"""Dynamic sampling: fill a step with informative groups, and waste none.

ProRL drops prompts whose group is all right or all wrong (arXiv 2505.24864, section 3.2,
after DAPO, arXiv 2503.14476). Whole groups are kept or dropped, on the unshaped reward.
Requests are sized from the observed pass rate, groups beyond the step's need are carried
over to the next step, and a step that can't be filled ends with what it has.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from prorl_nemo.algorithms.filtering import select_informative_groups
from prorl_nemo.config import DynamicSamplingConfig
from prorl_nemo.data.prompt_stream import PromptStream
from prorl_nemo.types import PromptGroup, RolloutBatch, concatenate_rollouts

Rollout = Callable[[list[PromptGroup]], RolloutBatch]

# Older evidence on the pass rate fades as the policy changes.
EVIDENCE_KEPT_PER_STEP = 0.5


@dataclass(frozen=True)
class SamplerState:
    """What sampling remembers between steps.

    ``informative`` of ``seen`` groups had a reward spread, both faded over the steps.
    """

    carried: RolloutBatch | None = None
    informative: float = 0.0
    seen: float = 0.0
    next_group_id: int = 0

    @property
    def pass_rate(self) -> float:
        """Expected share of informative groups; 1 before any evidence, never 0."""
        return (self.informative + 1.0) / (self.seen + 1.0)


@dataclass(frozen=True)
class SampledGroups:
    """A step's informative groups and what they cost, in groups.

    ``rollouts`` is None when no informative group was found; ``message`` then says so, as it
    does when the step is only partly filled.
    """

    rollouts: RolloutBatch | None
    generated: RolloutBatch | None
    state: SamplerState
    num_generated: int
    num_informative: int
    num_stale_dropped: int
    num_requests: int
    message: str | None

    @property
    def observed_pass_rate(self) -> float | None:
        """Share of the generated groups that were informative; None if none was generated."""
        return self.num_informative / self.num_generated if self.num_generated else None


def sample_informative_groups(
    rollout: Rollout,
    prompts: PromptStream,
    state: SamplerState,
    *,
    step: int,
    num_groups: int,
    config: DynamicSamplingConfig,
) -> SampledGroups:
    """Collect ``num_groups`` informative groups, oldest first.

    Stops short, with a message, after ``max_request_factor * num_groups`` prompts.
    """
    state = replace(
        state,
        informative=state.informative * EVIDENCE_KEPT_PER_STEP,
        seen=state.seen * EVIDENCE_KEPT_PER_STEP,
    )
    kept, num_stale = _fresh_enough(state.carried, step=step, config=config)
    num_fresh = _count(kept)
    budget = math.ceil(config.max_request_factor * num_groups)
    generated: list[RolloutBatch] = []
    while (missing := num_groups - _count(kept)) > 0 and (left := budget - _count(generated)) > 0:
        size = min(left, request_size(missing, state.pass_rate, config=config))
        state, batch = _request(rollout, prompts, state, size)
        generated.append(batch)
        if config.enabled:
            batch, state = _keep_informative(batch, state, tolerance=config.tolerance)
        kept += [batch] if len(batch) else []
    rollouts, carried = _split(kept, num_groups)
    return SampledGroups(
        rollouts=rollouts,
        generated=concatenate_rollouts(generated) if generated else None,
        state=replace(state, carried=carried),
        num_generated=_count(generated),
        num_informative=_count(kept) - num_fresh,
        num_stale_dropped=num_stale,
        num_requests=len(generated),
        message=_shortfall(rollouts, num_groups=num_groups, num_generated=_count(generated)),
    )


def request_size(missing: int, pass_rate: float, *, config: DynamicSamplingConfig) -> int:
    """Prompts to ask for so that ``missing`` informative groups probably come of them."""
    if not config.enabled:
        return missing
    margin = config.request_margin_std * math.sqrt(missing * (1.0 - pass_rate))
    return math.ceil((missing + margin) / pass_rate)


def _request(
    rollout: Rollout, prompts: PromptStream, state: SamplerState, size: int
) -> tuple[SamplerState, RolloutBatch]:
    first = state.next_group_id
    groups = [PromptGroup(first + i, problem) for i, problem in enumerate(prompts.take(size))]
    batch = rollout(groups)
    assert batch.num_groups == size, "an engine returns whole groups, one per prompt"
    return replace(state, next_group_id=first + size), batch


def _keep_informative(
    batch: RolloutBatch, state: SamplerState, *, tolerance: float
) -> tuple[RolloutBatch, SamplerState]:
    informative = select_informative_groups(
        batch.rewards, group_ids=batch.group_ids, tolerance=tolerance
    )
    kept = batch.select(informative)
    evidence = replace(
        state,
        informative=state.informative + kept.num_groups,
        seen=state.seen + batch.num_groups,
    )
    return kept, evidence


def _fresh_enough(
    carried: RolloutBatch | None, *, step: int, config: DynamicSamplingConfig
) -> tuple[list[RolloutBatch], int]:
    if carried is None:
        return [], 0
    # Generated with the weights of step - 1 means a staleness of 0 in step ``step``.
    fresh = carried.select(step - 1 - carried.policy_step <= config.max_staleness_steps)
    num_stale = carried.num_groups - fresh.num_groups
    return ([fresh] if len(fresh) else []), num_stale


def _split(
    kept: list[RolloutBatch], num_groups: int
) -> tuple[RolloutBatch | None, RolloutBatch | None]:
    if not kept:
        return None, None
    everything = concatenate_rollouts(kept)
    taken = _first_groups(everything.group_ids, num_groups)
    rest = everything.select(~taken)
    return everything.select(taken), rest if len(rest) else None


def _first_groups(group_ids: Tensor, count: int) -> Tensor:
    """Rows of the ``count`` lowest group ids (ids rise with time), [B] bool."""
    lowest = torch.unique(group_ids)[:count]
    return torch.isin(group_ids, lowest)


def _count(batches: list[RolloutBatch]) -> int:
    return sum(batch.num_groups for batch in batches)


def _shortfall(rollouts: RolloutBatch | None, *, num_groups: int, num_generated: int) -> str | None:
    found = rollouts.num_groups if rollouts is not None else 0
    if found == num_groups:
        return None
    return f"only {found} of {num_groups} informative groups among {num_generated} prompts"
