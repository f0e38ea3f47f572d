"""A real time limit: Slurm would end the job after two minutes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.slurm.campaign import Campaign
from tests.slurm.cluster import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def test_the_trainer_saves_before_the_time_limit(
    cluster: Cluster, make_campaign: Callable[..., Campaign]
) -> None:
    campaign = make_campaign("TIME_LIMIT=1 FIRST_LEAD_SECONDS=15 MIN_LEAD_SECONDS=15\n")
    campaign.start("prorl.schedule.0.num_steps=5000", "checkpointing.save_period=5000")
    segment = campaign.wait_for_segments(1)[0]
    assert (segment.outcome, segment.exit_code) == ("yielded", 0), campaign.logs()
    assert segment.ended - segment.started < 60
    assert segment.step_after > 0  # nothing but the warning can have saved it
    job = cluster.out("scontrol", "show", "job", segment.job)
    assert "JobState=COMPLETED" in job
    assert "TimeLimit=00:01:00" in job
    campaign.wait_for_step(segment.step_after + 1)
    campaign.stop_everything()
