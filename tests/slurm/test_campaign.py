"""A campaign over several Slurm jobs is the same campaign, whatever ends its segments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.slurm.campaign import LAST_STEP, Campaign, read_manifest, read_steps

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
MakeCampaign = Callable[..., Campaign]


def test_segments_end_on_usr1_and_the_campaign_is_bit_identical(
    make_campaign: MakeCampaign, uninterrupted: Path
) -> None:
    campaign = make_campaign()
    campaign.start()
    for count, step in enumerate((2, 9), start=1):
        campaign.wait_for_step(step)
        campaign.signal("USR1")
        segment = campaign.wait_for_segments(count)[-1]
        assert (segment.outcome, segment.exit_code) == ("yielded", 0), campaign.logs()
        assert segment.step_after < LAST_STEP
    campaign.wait_until_quiet()

    first, second, third = campaign.segments()
    assert third.outcome == "finished", campaign.logs()
    # Nothing was done twice and nothing left out.
    assert first.step_before == -1
    assert second.step_before == first.step_after > 0
    assert third.step_before == second.step_after > second.step_before
    assert third.step_after == LAST_STEP
    assert read_steps(campaign.root) == read_steps(uninterrupted)
    assert read_manifest(campaign.root, LAST_STEP) == read_manifest(uninterrupted, LAST_STEP)
    assert (campaign.root / "logs" / "latest").resolve().name == third.log
