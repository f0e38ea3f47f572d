"""Groups generated per informative group used: our sampler against the rules of its peers.

    python benchmarks/dynamic_sampling.py

Every rule sees the same simulated prompts: a prompt's success probability drifts upwards over
the steps, and a group is informative when its rewards are not all equal. ``ideal`` is what
an oracle generates that knows beforehand which prompts will be informative and how many are
needed: groups used divided by the share that is informative.

- *whole batches* is NeMo-RL v0.7.0's published rule (use_dynamic_sampling): generate
  num_prompts_per_step prompts at a time until enough informative ones are there; the surplus
  is dropped at the end of the step.
- *generation batches* is the rule of verl's DAPO recipe: the same with a generation batch that
  may be larger than the training batch (3 times, as its scripts have it).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from prorl_nemo.config import DynamicSamplingConfig
from prorl_nemo.data.prompt_stream import PromptStream, WeightedTask
from prorl_nemo.dynamic_sampling import SamplerState, sample_informative_groups
from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.types import PromptGroup, RolloutBatch

CONFIG = DynamicSamplingConfig(
    enabled=True,
    tolerance=1e-6,
    request_margin_std=1.0,
    max_request_factor=50.0,
    max_staleness_steps=2,
)


@dataclass(frozen=True)
class Outcome:
    """Totals over the steps of one rule."""

    generated: int
    used: int
    ideal: float
    staleness_max: int


class PromptPool:
    """An endless supply of prompts; which one it is plays no role here."""

    name = "simulated"
    needs_isolation = False

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, index: int) -> Problem:
        return Problem(str(index), self.name, str(index), "")

    def score(self, problem: Problem, response: str) -> Score:
        raise NotImplementedError


def rewards_of(
    group_ids: torch.Tensor, *, n: int, step: int, difficulty: float, is_continuous: bool
) -> torch.Tensor:
    """[groups, n]; the same group id and step always give the same rewards."""
    rows = []
    for group_id in group_ids.tolist():
        generator = torch.Generator().manual_seed(group_id)
        chance = torch.rand((), generator=generator) ** difficulty
        chance = (chance + 0.004 * step).clamp(max=1.0)
        rewards = (torch.rand(n, generator=generator) < chance).float()
        if is_continuous:  # partial credit that is the same for every wrong answer of a prompt
            rewards = torch.where(rewards > 0, rewards, 0.3)
        rows.append(rewards)
    return torch.stack(rows)


def run_ours(
    make_rewards: Callable[[torch.Tensor, int], torch.Tensor], *, n: int, groups: int, steps: int
) -> Outcome:
    prompts = PromptStream([WeightedTask(PromptPool(), 1.0)], seed=0)
    state, generated, used, stale, informative, seen = SamplerState(), 0, 0, 0, 0, 0
    for step in range(1, steps + 1):

        def rollout(asked: list[PromptGroup], step: int = step) -> RolloutBatch:
            ids = torch.tensor([group.group_id for group in asked])
            rewards = make_rewards(ids, step)
            return as_batch(ids, rewards, n=n, step=step - 1)

        sampled = sample_informative_groups(
            rollout, prompts, state, step=step, num_groups=groups, config=CONFIG
        )
        state = sampled.state
        assert sampled.rollouts is not None
        generated += sampled.num_generated
        seen += sampled.num_generated
        informative += sampled.num_informative
        used += sampled.rollouts.num_groups
        stale = max(stale, int((step - 1 - sampled.rollouts.policy_step).max()))
    return Outcome(generated, used, used / (informative / seen), stale)


def run_batches(
    make_rewards: Callable[[torch.Tensor, int], torch.Tensor],
    *,
    groups: int,
    steps: int,
    batch: int,
) -> Outcome:
    generated, used, informative = 0, 0, 0
    for step in range(1, steps + 1):
        kept = 0
        while kept < groups:
            ids = torch.arange(generated, generated + batch)
            rewards = make_rewards(ids, step)
            found = int((rewards.amax(1) - rewards.amin(1) > CONFIG.tolerance).sum())
            kept, informative, generated = kept + found, informative + found, generated + batch
        used += groups
    return Outcome(generated, used, used / (informative / generated), 0)


def as_batch(group_ids: torch.Tensor, rewards: torch.Tensor, *, n: int, step: int) -> RolloutBatch:
    rows = len(group_ids) * n
    ones = torch.ones(rows, dtype=torch.int64)
    return RolloutBatch(
        group_ids=group_ids.repeat_interleave(n),
        task_names=("simulated",) * rows,
        input_ids=torch.zeros(rows, 2, dtype=torch.int64),
        input_lengths=ones * 2,
        prompt_lengths=ones,
        generation_logprobs=torch.zeros(rows, 2),
        rewards=rewards.flatten(),
        truncated=torch.zeros(rows, dtype=torch.bool),
        scorer_failed=torch.zeros(rows, dtype=torch.bool),
        policy_step=ones * step,
    )


def settings() -> Iterator[tuple[str, int, float, bool]]:
    for n in (8, 16, 32):
        yield f"n={n}, easy and hard prompts", n, 1.0, False
        yield f"n={n}, mostly hard prompts", n, 6.0, False
        yield f"n={n}, continuous reward", n, 3.0, True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    groups, steps = arguments.groups, arguments.steps
    print("| setting | informative | ours | whole batches | generation batches | staleness |")
    print("|---|---|---|---|---|---|")
    worst = 0.0
    for label, n, difficulty, is_continuous in settings():

        def make_rewards(
            ids: torch.Tensor,
            step: int,
            n: int = n,
            difficulty: float = difficulty,
            is_continuous: bool = is_continuous,
        ) -> torch.Tensor:
            return rewards_of(
                ids, n=n, step=step, difficulty=difficulty, is_continuous=is_continuous
            )

        ours = run_ours(make_rewards, n=n, groups=groups, steps=steps)
        whole = run_batches(make_rewards, groups=groups, steps=steps, batch=groups)
        large = run_batches(make_rewards, groups=groups, steps=steps, batch=3 * groups)
        ratios = [outcome.generated / outcome.ideal for outcome in (ours, whole, large)]
        worst = max(worst, ratios[0])
        share = ours.used / ours.ideal
        cells = " | ".join(f"{ratio:.3f}" for ratio in ratios)
        print(f"| {label} | {share:.2f} | {cells} | {ours.staleness_max} |")
    goal = 1.05
    print(f"\nworst ratio of ours to the ideal: {worst:.3f} (goal: at most {goal})")
    if not math.isfinite(worst) or worst > goal:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
