"""One cluster for all Slurm tests, and the campaign that they compare with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.slurm.campaign import CONFIG, Campaign
from tests.slurm.cluster import REPOSITORY, Cluster, reason_to_skip


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four nodes, started once."""
    reason = reason_to_skip()
    if reason is not None:
        pytest.skip(reason)
    root = tmp_path_factory.mktemp("slurm") / "shared"
    cluster = Cluster(root, spank_plugin=build_pyxis_stub(root.parent))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def build_pyxis_stub(directory: Path) -> Path | None:
    """A plugin for srun that takes pyxis' options; None where it can't be compiled."""
    target = directory / "shared" / "programs" / "pyxis_stub.so"
    target.parent.mkdir(parents=True)
    source = Path(__file__).with_name("pyxis_stub.c")
    command = ["gcc", "-shared", "-fPIC", "-o", target, source]
    if shutil.which("gcc") is None or subprocess.run(command, capture_output=True).returncode:
        return None
    return target


@pytest.fixture
def pyxis_stub(cluster: Cluster) -> Path:
    """The directory where the stub notes what every step was given."""
    if not (cluster.root / "programs" / "pyxis_stub.so").exists():
        pytest.skip("needs gcc and slurm/spank.h (apt-get install gcc libslurm-dev)")
    return cluster.root / "spank"


@pytest.fixture
def make_campaign(
    cluster: Cluster, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Campaign]]:
    """Makes campaigns in directories of their own; their jobs end with the test."""
    made: list[Campaign] = []

    def make(settings: str = "", name: str = "run") -> Campaign:
        root = cluster.root / request.node.name / name
        made.append(Campaign(cluster, root, settings))
        return made[-1]

    yield make
    cluster.bring_back()  # a test may have ended in the dark
    for campaign in made:
        campaign.stop_everything()


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same campaign in one process, without Slurm."""
    root = tmp_path_factory.mktemp("uninterrupted") / "run"
    command = [sys.executable, "-m", "prorl_nemo.cli", "train", "--no-evaluation"]
    result = subprocess.run(
        [*command, "--config", CONFIG, f"checkpointing.checkpoint_dir={root}"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return root
