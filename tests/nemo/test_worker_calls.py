"""Calls to the workers pass through NeMo-RL's own worker group, and run in the right Python."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("nemo_rl", reason="needs a NeMo-RL v0.7.0 source tree on PYTHONPATH")

from nemo_rl.distributed.worker_groups import RayWorkerGroup

from prorl_nemo.engines.nemo.reference import ReferenceWorkers, StateDigest

pytestmark = [pytest.mark.nemo, pytest.mark.slow]


class Worker:
    """Answers like the extensions of the Megatron and DTensor workers."""

    def __init__(self, rank: int) -> None:
        self.rank, self.calls = rank, list[str]()

    def load_reference(self, weights_path: str) -> None:
        self.calls.append(weights_path)

    def clear_optimizer_state(self) -> None:
        self.calls.append("clear")

    def compute_state_digest(self) -> StateDigest:
        return StateDigest((self.rank,), "same", "same")

    def get_calls(self) -> list[str]:
        return self.calls


class Group:
    """What ``Policy`` adds: it waits for the futures of a real RayWorkerGroup's call."""

    def __init__(self, workers: list[Any]) -> None:
        sharding = SimpleNamespace(names=["rank"], get_worker_coords=lambda index: {"rank": index})
        self.group = SimpleNamespace(workers=workers, sharding_annotations=sharding)

    def run_all_workers_single_data(self, method_name: str, *args: Any, **kwargs: Any) -> Any:
        import ray

        call = RayWorkerGroup.run_all_workers_single_data
        return ray.get(call(self.group, method_name, *args, **kwargs))


def test_a_reset_reaches_every_ray_worker(ray_cluster: None) -> None:
    import ray

    workers = [ray.remote(Worker).remote(rank) for rank in range(2)]
    reference = ReferenceWorkers(Group(workers))
    reference.load_reference(Path("pin"), expect_policy=True)
    reference.clear_optimizer_state()
    expected = [str(Path("pin").absolute()), "clear"]
    assert [ray.get(worker.get_calls.remote()) for worker in workers] == [expected, expected]
    for worker in workers:
        ray.kill(worker)
