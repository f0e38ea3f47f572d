"""Dynamic sampling against simulated pass rates and hand-made groups."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
import torch

from prorl_nemo.config import DynamicSamplingConfig
from prorl_nemo.config_loading import load_config
from prorl_nemo.dynamic_sampling import (
    SampledGroups,
    SamplerState,
    request_size,
    sample_informative_groups,
)
from prorl_nemo.types import PromptGroup, RolloutBatch
from tests.support.campaigns import REPOSITORY
from tests.support.rollouts import make_rollouts, make_stream

MIXED, EQUAL = [1.0] + [0.0] * 7, [0.3] * 8


@pytest.fixture(scope="module")
def config() -> DynamicSamplingConfig:
    """The settings that ship."""
    return load_config(REPOSITORY / "conf" / "local.yaml").prorl.dynamic_sampling


class Simulation:
    """A rollout whose groups are informative with a probability, step after step."""

    def __init__(self, reward_of: Callable[[int], Sequence[float]]) -> None:
        self._reward_of = reward_of
        self.asked: list[int] = []

    def rollout_at(self, step: int) -> Callable[[list[PromptGroup]], RolloutBatch]:
        def rollout(groups: list[PromptGroup]) -> RolloutBatch:
            self.asked += [group.group_id for group in groups]
            return make_rollouts(
                [self._reward_of(group.group_id) for group in groups],
                group_ids=[group.group_id for group in groups],
                policy_step=step - 1,
            )

        return rollout


def simulate(
    simulation: Simulation, config: DynamicSamplingConfig, *, num_steps: int, num_groups: int
) -> list[SampledGroups]:
    prompts, state, history = make_stream(), SamplerState(), []
    for step in range(1, num_steps + 1):
        sampled = sample_informative_groups(
            simulation.rollout_at(step),
            prompts,
            state,
            step=step,
            num_groups=num_groups,
            config=config,
        )
        state = sampled.state
        history.append(sampled)
    return history


@pytest.mark.parametrize("pass_rate", [0.41, 0.62, 0.80])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_at_most_five_percent_more_generations_than_ideal(
    config: DynamicSamplingConfig, pass_rate: float, seed: int
) -> None:
    rng = random.Random(seed)
    simulation = Simulation(lambda _: MIXED if rng.random() < pass_rate else EQUAL)
    history = simulate(simulation, config, num_steps=8, num_groups=256)
    assert all(sampled.rollouts.num_groups == 256 for sampled in history)
    generated = sum(sampled.num_generated for sampled in history)
    assert generated == len(simulation.asked)
    # Ideal: exactly as many informative groups as the steps use. Counted against the groups
    # that really were informative, so that the luck of the draw is not the sampler's merit.
    informative = sum(sampled.num_informative for sampled in history)
    ideal = 8 * 256 / (informative / generated)
    assert generated <= 1.05 * ideal
    assert generated <= 1.08 * 8 * 256 / pass_rate
    assert sum(sampled.num_stale_dropped for sampled in history) == 0
    assert max(sampled.num_requests for sampled in history[1:]) <= 3


def test_sampling_whole_steps_afresh_would_waste_more() -> None:
    """What the bound is measured against: requests of a whole step, the surplus thrown away."""
    rng, generated = random.Random(0), 0
    for _ in range(8):
        informative = 0
        while informative < 256:
            generated += 256
            informative += sum(rng.random() < 0.41 for _ in range(256))
    assert generated > 1.15 * 8 * 256 / 0.41


def test_the_pass_rate_may_change(config: DynamicSamplingConfig) -> None:
    rng = random.Random(3)
    rates = iter([0.8] * 1600 + [0.3] * 100_000)
    simulation = Simulation(lambda _: MIXED if rng.random() < next(rates) else EQUAL)
    history = simulate(simulation, config, num_steps=12, num_groups=256)
    assert all(sampled.rollouts.num_groups == 256 for sampled in history)
    assert max(sampled.num_requests for sampled in history) <= 5


def test_a_group_with_one_right_answer_is_kept_whole(config: DynamicSamplingConfig) -> None:
    rewards = {0: EQUAL, 1: MIXED, 2: EQUAL, 3: MIXED}
    simulation = Simulation(lambda i: rewards.get(i, EQUAL))
    (sampled,) = simulate(simulation, config, num_steps=1, num_groups=2)
    assert sampled.rollouts.group_ids.tolist() == [1] * 8 + [3] * 8
    assert sampled.rollouts.rewards.tolist() == MIXED + MIXED
    assert sampled.message is None


@pytest.mark.parametrize("rewards", [[0.0] * 8, [1.0] * 8, EQUAL, [0.3, 0.3 + 5e-7] * 4])
def test_groups_without_spread_end_the_step_with_a_message(
    config: DynamicSamplingConfig, rewards: list[float]
) -> None:
    simulation = Simulation(lambda _: rewards)
    (sampled,) = simulate(simulation, config, num_steps=1, num_groups=4)
    assert sampled.rollouts is None
    assert sampled.num_generated == 80  # max_request_factor 20
    assert sampled.message == "only 0 of 4 informative groups among 80 prompts"
    assert sampled.generated.num_groups == 80  # they count in the metrics all the same
    assert sampled.observed_pass_rate == 0.0


def test_a_partly_filled_step_trains_on_what_it_found(config: DynamicSamplingConfig) -> None:
    simulation = Simulation(lambda i: MIXED if i == 11 else EQUAL)
    (sampled,) = simulate(simulation, config, num_steps=1, num_groups=4)
    assert sampled.rollouts.group_ids.unique().tolist() == [11]
    assert sampled.message == "only 1 of 4 informative groups among 80 prompts"


def test_the_step_after_a_drought_goes_on(config: DynamicSamplingConfig) -> None:
    simulation = Simulation(lambda i: EQUAL if i < 80 else MIXED)
    first, second = simulate(simulation, config, num_steps=2, num_groups=4)
    assert first.rollouts is None
    assert second.rollouts.num_groups == 4
    assert second.rollouts.group_ids.unique().tolist() == [80, 81, 82, 83]


def test_surplus_groups_come_first_in_the_next_step(config: DynamicSamplingConfig) -> None:
    simulation = Simulation(lambda _: MIXED)
    state = SamplerState(informative=50.0, seen=100.0)  # expects half: asks for too many
    prompts = make_stream()
    first = sample_informative_groups(
        simulation.rollout_at(1), prompts, state, step=1, num_groups=4, config=config
    )
    carried = first.state.carried.group_ids.unique().tolist()
    assert first.rollouts.group_ids.unique().tolist() == [0, 1, 2, 3]
    assert carried == list(range(4, first.num_generated))
    second = sample_informative_groups(
        simulation.rollout_at(2), prompts, first.state, step=2, num_groups=4, config=config
    )
    assert second.rollouts.group_ids.unique().tolist() == [4, 5, 6, 7]
    assert second.num_generated == 0
    assert second.generated is None
    assert second.observed_pass_rate is None


def test_staleness_is_bounded_and_counted(config: DynamicSamplingConfig) -> None:
    """Weights of step 0 wrote the carried groups; at most two steps may lie in between."""
    carried = make_rollouts([MIXED] * 3, group_ids=[7, 8, 9], policy_step=0)
    for step, num_stale in ((1, 0), (2, 0), (3, 0), (4, 3)):
        sampled = sample_informative_groups(
            Simulation(lambda _: MIXED).rollout_at(step),
            make_stream(),
            SamplerState(carried=carried, next_group_id=10),
            step=step,
            num_groups=4,
            config=config,
        )
        assert sampled.num_stale_dropped == num_stale
        assert sampled.rollouts.num_groups == 4
        assert (7 in sampled.rollouts.group_ids.tolist()) == (num_stale == 0)


def test_ids_rise_and_never_repeat(config: DynamicSamplingConfig) -> None:
    rng = random.Random(5)
    simulation = Simulation(lambda _: MIXED if rng.random() < 0.5 else EQUAL)
    history = simulate(simulation, config, num_steps=6, num_groups=16)
    assert simulation.asked == list(range(len(simulation.asked)))
    used = [i for sampled in history for i in sampled.rollouts.group_ids.unique().tolist()]
    assert used == sorted(set(used))  # oldest first, none twice
    assert history[-1].state.next_group_id == len(simulation.asked)


def test_switched_off_it_takes_every_group_once(config: DynamicSamplingConfig) -> None:
    off = config.model_copy(update={"enabled": False})
    simulation = Simulation(lambda i: MIXED if i % 2 else EQUAL)
    (sampled,) = simulate(simulation, off, num_steps=1, num_groups=6)
    assert sampled.rollouts.group_ids.unique().tolist() == list(range(6))
    assert sampled.num_requests == 1
    assert sampled.num_generated == 6


def test_request_sizes_by_hand(config: DynamicSamplingConfig) -> None:
    """(missing + sqrt(missing (1 - rate))) / rate, rounded up; margin_std is 1."""
    assert config.request_margin_std == 1.0
    assert request_size(100, 1.0, config=config) == 100
    assert request_size(64, 0.75, config=config) == 91  # (64 + 4) / 0.75 = 90.67
    assert request_size(1, 0.5, config=config) == 4  # (1 + 0.707) / 0.5 = 3.41


def test_pass_rate_by_hand() -> None:
    assert SamplerState().pass_rate == 1.0
    assert SamplerState(informative=2.0, seen=5.0).pass_rate == 0.5
    assert SamplerState(informative=0.0, seen=99.0).pass_rate == 0.01


def test_rows_of_a_group_stay_together_in_any_width(config: DynamicSamplingConfig) -> None:
    def rollout(groups: list[PromptGroup]) -> RolloutBatch:
        return make_rollouts(
            [MIXED] * len(groups),
            group_ids=[group.group_id for group in groups],
            response_tokens=1 + groups[0].group_id % 5,
        )

    state = SamplerState(carried=make_rollouts([MIXED], group_ids=[0]), next_group_id=3)
    sampled = sample_informative_groups(
        rollout, make_stream(), state, step=1, num_groups=3, config=config
    )
    assert torch.bincount(sampled.rollouts.group_ids).tolist() == [8, 0, 0, 8, 8]
    assert sampled.rollouts.input_lengths.tolist() == [4] * 8 + [6] * 16
