"""The environment actor rewards any of our tasks through NeMo-RL's own rollouts."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("nemo_rl", reason="needs a NeMo-RL v0.7.0 source tree on PYTHONPATH")

from prorl_nemo.config import TaskConfig
from prorl_nemo.engines.nemo.environment import ResponseId, TaskEnvironment, start_environment
from tests.nemo.letters import LetterTask

pytestmark = pytest.mark.nemo


def log_of(response: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": "?"}, {"role": "assistant", "content": response}]


def info_of(index: int, *, group_id: int, sample: int) -> dict[str, Any]:
    return {"problem": LetterTask()[index], "response_id": ResponseId(group_id, sample)}


def test_rewards_come_in_order_and_failures_by_response() -> None:
    environment = TaskEnvironment([LetterTask()], num_workers=1, timeout_seconds=5.0)
    answer = LetterTask()[4].answer
    result = environment.step(
        [log_of(answer * 3 + "b"), log_of("ff"), log_of("")],
        [info_of(4, group_id=9, sample=sample) for sample in range(3)],
    )
    right = 1.0 if answer == "b" else 0.75
    assert result.rewards.tolist() == [right, 0.0, 0.0]
    assert result.terminateds.all()
    assert environment.take_failures() == {ResponseId(9, 1): "verifier_error"}
    assert environment.take_failures() == {}
    assert environment.shutdown()


@pytest.mark.slow
def test_an_actor_makes_its_own_tasks(ray_cluster: None) -> None:
    import ray

    config = TaskConfig(
        name="gcd",
        task="reasoning_gym/gcd",
        weight=1.0,
        num_problems=5,
        seed=3,
        params={"answer_format": "whole_response"},
    )
    from prorl_nemo.tasks.registry import make_task

    problem = make_task(config)[0]
    actor = start_environment([config], num_workers=1, timeout_seconds=5.0)
    info = {"problem": problem, "response_id": ResponseId(0, 0)}
    result = ray.get(actor.step.remote([log_of(problem.answer)], [info]))
    assert result.rewards.tolist() == [1.0]
    ray.kill(actor)
