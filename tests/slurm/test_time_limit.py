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
    # Slurm's own warning would come 5 s before the limit, and up to 30 s early. The lead that
    # the trainer measures is the teardown's 50 s and twice a step and a save.
    campaign = make_campaign(
        "TIME_LIMIT=2 FIRST_LEAD_SECONDS=5 MIN_LEAD_SECONDS=1 TEARDOWN_SECONDS=50\n"
    )
    campaign.start("prorl.schedule.0.num_steps=5000", "checkpointing.save_period=5000")
    segment = campaign.wait_for_segments(1)[0]
    assert (segment.outcome, segment.exit_code) == ("yielded", 0), campaign.logs()
    assert segment.ended - segment.started < 120
    assert segment.step_after > 0  # nothing but the request can have saved it
    log = (campaign.root / "logs" / segment.log / "segment.log").read_text()
    assert "s to the time limit" in log
    campaign.wait_for_step(segment.step_after + 1)
    job = cluster.out("scontrol", "show", "job", segment.job)
    assert "JobState=COMPLETED" in job
    assert "TimeLimit=00:02:00" in job
    campaign.stop_everything()
