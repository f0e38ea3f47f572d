"""Groups generated per informative group used: our sampler against the rules of its peers.

    python -m benchmarks.dynamic_sampling

Every rule sees the same prompts. A group is informative when its rewards are not all equal.
Simulated: a prompt's success probability drifts upwards over the steps. Recorded: rewards of the
miniature campaign (recorded_rewards.py), drawn with repetition from its steps. ``ideal`` is what
an oracle generates that knows beforehand which prompts will be informative and how many are
needed: groups used divided by the share that is informative.

- *whole batches* is NeMo-RL v0.7.0's published rule (use_dynamic_sampling): generate
  num_prompts_per_step prompts at a time until enough informative ones are there; the surplus
  is dropped at the end of the step. Where nemo_rl can be imported its own function is run as
  well, must generate as many groups as the rule says, and is run again with the leave-one-out
  baseline that its prorlv2.v2.yaml sets.
- *generation batches* is the rule of verl's DAPO recipe: the same with a generation batch that
  may be larger than the training batch (3 times, as its scripts have it).

Exits non-zero when ours generates more than GOAL times the ideal, loses or splits an informative
group, or NeMo-RL's function generates another number of groups than its rule for another reason
than rounding (*constant samples* are of groups whose equal rewards have a standard deviation that
isn't exactly 0; without and with leave-one-out).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks import nemo_sampling_peer
from benchmarks.recorded_rewards import RecordedRewards
from prorl_nemo.config import DynamicSamplingConfig
from prorl_nemo.data.prompt_stream import PromptStream, WeightedTask
from prorl_nemo.dynamic_sampling import SamplerState, sample_informative_groups
from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.types import PromptGroup, RolloutBatch

GOAL = 1.05
CONFIG = DynamicSamplingConfig(
    enabled=True,
    tolerance=1e-6,
    request_margin_std=1.0,
    max_request_factor=50.0,
    max_staleness_steps=2,
)


MakeRewards = Callable[[torch.Tensor, int], torch.Tensor]  # group ids and step to [groups, n]


@dataclass(frozen=True)
class Outcome:
    """Totals over the steps of one rule, in groups; ``lost`` were informative and never used."""

    generated: int
    used: int
    ideal: float
    staleness_max: int = 0
    lost: int = 0

    @property
    def ratio(self) -> float:
        return self.generated / self.ideal


@dataclass(frozen=True)
class Setting:
    label: str
    n: int
    groups: int
    steps: int
    make_rewards: MakeRewards


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


def run_ours(setting: Setting) -> Outcome:
    prompts = PromptStream([WeightedTask(PromptPool(), 1.0)], seed=0)
    state, generated, used, stale, informative = SamplerState(), 0, 0, 0, 0
    for step in range(1, setting.steps + 1):

        def rollout(asked: list[PromptGroup], step: int = step) -> RolloutBatch:
            ids = torch.tensor([group.group_id for group in asked])
            rewards = setting.make_rewards(ids, step)
            return as_batch(ids, rewards, n=setting.n, step=step - 1)

        sampled = sample_informative_groups(
            rollout, prompts, state, step=step, num_groups=setting.groups, config=CONFIG
        )
        state = sampled.state
        assert sampled.rollouts is not None
        _, sizes = torch.unique(sampled.rollouts.group_ids, return_counts=True)
        assert (sizes == setting.n).all(), "a group was split"
        generated += sampled.num_generated
        informative += sampled.num_informative
        used += sampled.rollouts.num_groups
        stale = max(stale, int((step - 1 - sampled.rollouts.policy_step).max()))
    waiting = state.carried.num_groups if state.carried is not None else 0
    return Outcome(
        generated,
        used,
        ideal=used * generated / informative,
        staleness_max=stale,
        lost=informative - used - waiting,
    )


def run_batches(setting: Setting, *, batch: int) -> Outcome:
    generated, used, informative = 0, 0, 0
    for step in range(1, setting.steps + 1):
        kept = 0
        while kept < setting.groups:
            ids = torch.arange(generated, generated + batch)
            rewards = setting.make_rewards(ids, step)
            found = int((rewards.amax(1) - rewards.amin(1) > CONFIG.tolerance).sum())
            kept, informative, generated = kept + found, informative + found, generated + batch
        used += setting.groups
    return Outcome(generated, used, ideal=used * generated / informative, lost=informative - used)


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


def settings(groups: int, steps: int) -> Iterator[Setting]:
    for n in (8, 16, 32):
        for label, difficulty, is_continuous in (
            ("easy and hard prompts", 1.0, False),
            ("mostly hard prompts", 6.0, False),
            ("continuous reward", 3.0, True),
        ):
            make = partial(_simulated, n=n, difficulty=difficulty, is_continuous=is_continuous)
            yield Setting(f"n={n}, {label}", n, groups, steps, make)
    recorded = RecordedRewards()
    for n in (8, 16, 32):
        for size in (32, groups):
            make = partial(_recorded, recorded, n=n)
            yield Setting(
                f"n={n}, recorded, {size} groups a step", n, size, recorded.num_steps, make
            )


def _simulated(
    ids: torch.Tensor, step: int, *, n: int, difficulty: float, is_continuous: bool
) -> torch.Tensor:
    return rewards_of(ids, n=n, step=step, difficulty=difficulty, is_continuous=is_continuous)


def _recorded(recorded: RecordedRewards, ids: torch.Tensor, step: int, *, n: int) -> torch.Tensor:
    return recorded.rewards_of(ids, n=n, step=step)


def compare_with_nemo(setting: Setting, rule: Outcome) -> tuple[str, bool]:
    """Cells of the table, and whether NeMo-RL's function generated what the rule says."""
    run = partial(
        nemo_sampling_peer.run_nemo,
        setting.make_rewards,
        n=setting.n,
        groups=setting.groups,
        steps=setting.steps,
        tolerance=CONFIG.tolerance,
    )
    plain, leave_one_out = run(leave_one_out=False), run(leave_one_out=True)
    ideal = rule.used * leave_one_out.generated / leave_one_out.informative
    # A standard deviation of equal rewards that rounds to more than 0 keeps a constant group.
    agree = plain.broken == 0 and (plain.generated == rule.generated or plain.constant_samples > 0)
    cells = (
        f"{plain.generated / rule.ideal:.3f} | {leave_one_out.generated / ideal:.3f} "
        f"| {leave_one_out.broken / leave_one_out.informative:.1%} "
        f"| {plain.constant_samples / plain.samples:.1%}, "
        f"{leave_one_out.constant_samples / leave_one_out.samples:.1%} "
    )
    return cells, agree


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    has_nemo = nemo_sampling_peer.importable()
    print(f"NeMo-RL's own function: {'run' if has_nemo else 'not importable, its rule only'}")
    peer = "NeMo-RL's function | with leave-one-out | groups broken | constant samples | "
    columns = (
        "setting | informative | ours | lost | staleness | whole batches | lost | "
        f"{peer if has_nemo else ''}generation batches"
    )
    print(f"| {columns} |\n{'|---' * (columns.count('|') + 1)}|")
    worst, lost, disagreements = 0.0, 0, []
    for setting in settings(arguments.groups, arguments.steps):
        ours = run_ours(setting)
        whole = run_batches(setting, batch=setting.groups)
        large = run_batches(setting, batch=3 * setting.groups)
        worst, lost = max(worst, ours.ratio), lost + ours.lost
        peer_cells = ""
        if has_nemo:
            cells, agree = compare_with_nemo(setting, whole)
            peer_cells = f"| {cells}"
            disagreements += [] if agree else [setting.label]
        print(
            f"| {setting.label} | {ours.used / ours.ideal:.2f} | {ours.ratio:.3f} | {ours.lost} "
            f"| {ours.staleness_max} | {whole.ratio:.3f} | {whole.lost / whole.generated:.0%} "
            f"{peer_cells}| {large.ratio:.3f} |",
            flush=True,
        )
    print(f"\nours at its worst: {worst:.3f} of the ideal (goal: at most {GOAL}), {lost} lost")
    if disagreements:
        print(f"NeMo-RL's function and its rule disagree: {', '.join(disagreements)}")
    return int(not worst <= GOAL or lost > 0 or bool(disagreements))


if __name__ == "__main__":
    sys.exit(main())
