"""A Ray of one process for the environment actor."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from tests.support.nemo_rl import allow_old_python

allow_old_python()


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    path = os.pathsep.join(entry for entry in sys.path if entry)
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}},
    )
    yield
    ray.shutdown()
