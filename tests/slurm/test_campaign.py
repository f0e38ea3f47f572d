"""A campaign over several Slurm jobs is the same campaign, and its followers find it finished."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from tests.slurm.campaign import LAST_STEP, Campaign, read_manifest, read_steps
from tests.slurm.cluster import REPOSITORY

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
MakeCampaign = Callable[..., Campaign]


def test_segments_end_on_usr1_and_the_campaign_is_bit_identical(
    make_campaign: MakeCampaign, uninterrupted: Path, tmp_path: Path
) -> None:
    campaign = make_campaign("GPUS_PER_NODE=2 GPU_OPTION=gpus-per-node PREFLIGHT=no\n")
    campaign.start(options=["--then", "evaluate", "--then", "convert"])
    for count, step in enumerate((2, 9), start=1):
        campaign.wait_for_step(step)
        with campaign.paused():
            status = read_status(campaign)
            campaign.signal("USR1")
        segment = campaign.wait_for_segments(count)[-1]
        assert (segment.outcome, segment.exit_code) == ("yielded", 0), campaign.logs()
        assert segment.step_after < LAST_STEP
    campaign.wait_until_quiet()

    # What a login node without torch showed of the second segment.
    assert (status["state"], status["run"], status["of_steps"]) == ("running", "second", LAST_STEP)
    assert 9 <= status["step"] < LAST_STEP
    assert status["gpu_hours_left"] > 0
    assert "step 5: period" in status["resets"]
    assert [line.split()[1] for line in sorted(status["queue"])] == ["running", "pending"]

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
    assert len(list(campaign.root.glob("logs/*.*/driver.log"))) == 3  # no successor started one

    followers = (campaign.root / "slurm" / "followups").read_text().split()
    assert len(followers) == 2
    for job in followers:
        campaign.cluster.wait_for_end(job)
    logs = {path.name: path.read_text() for path in campaign.root.glob("logs/*-*.log")}
    assert (campaign.root / "report.html").is_file(), logs
    assert "logits differ by at most" in logs[f"convert-{followers[0]}.log"]
    AutoModelForCausalLM.from_pretrained(campaign.root / "hf")
    assert read_status(campaign)["state"] == "finished"


def read_status(campaign: Campaign) -> dict[str, Any]:
    """`prorl status --json` where importing torch is an error."""
    poison = campaign.root.parent / "poison"
    poison.mkdir(exist_ok=True)
    (poison / "torch.py").write_text("raise ImportError('no torch here')\n")
    command = (sys.executable, "-m", "prorl_nemo.cli", "status", campaign.root, "--json")
    result = campaign.cluster.run(*command, PYTHONPATH=f"{poison}:{REPOSITORY}")
    assert result.returncode == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer
