"""Fixtures that are expensive to make and shared by the whole session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported: two threads on a busy machine with two cores can be 15 times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

from tests.support.campaigns import CampaignServer

# A busy machine is no failure.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def campaigns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CampaignServer]:
    """Starts `prorl` commands as processes that can be killed."""
    server = CampaignServer(tmp_path_factory.mktemp("campaigns"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def whole_campaign(campaigns: CampaignServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny campaign, run to its end without any interruption."""
    root = tmp_path_factory.mktemp("whole") / "run"
    finished = campaigns.train(root).wait()
    assert finished.code == 0, finished.output
    return root
