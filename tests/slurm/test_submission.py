"""What submit.sh accepts, refuses and passes on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.campaign import Campaign
from tests.slurm.cluster import REPOSITORY, Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
MakeCampaign = Callable[..., Campaign]
RECORD = REPOSITORY / "tests" / "slurm" / "record.py"
HOSTILE = (
    "logger.wandb.name=two words  'single' \"double\" back\\slash `id` $(id) $HOME",
    "logger.wandb.project={a,b} * ? [x] ; & | > < # ! ~ %j %% -n --flag é\ttab",
)
HOSTILE_DIRECTORY = 'it\'s a $HOME {run} %j "dir" *'


def test_arguments_arrive_byte_for_byte(make_campaign: MakeCampaign) -> None:
    campaign = make_campaign(name=HOSTILE_DIRECTORY)
    record_calls(campaign)
    campaign.start(*HOSTILE)
    campaign.wait_until_quiet()
    assert campaign.outcomes() == ["finished"], campaign.logs()
    (call,) = calls_of(campaign)
    frozen = campaign.root / "slurm" / "001"
    assert call["arguments"] == [
        *("train", "--config", str(frozen / "config.yaml")),
        *(f"checkpointing.checkpoint_dir={campaign.root}", *HOSTILE, "--no-evaluation"),
    ]
    assert call["cwd"] == str(campaign.root.parent)
    assert call["environment"]["PYTHONPATH"].split(":")[0] == str(frozen / "code")
    assert (frozen / "code" / "prorl_nemo" / "train.py").is_file()


@pytest.mark.parametrize(
    ("settings", "overrides", "message"),
    [
        ("NODES=9", (), "Slurm refuses the request"),
        ("GPUS_PER_NODE=9", (), "Slurm refuses the request"),
        ("TIME_LIMIT=10:00:00", (), "Slurm refuses the request"),
        ("PARTITION=nowhere", (), "Slurm refuses the request"),
        ("NODES=four", (), "NODES=four: expected a number above 0"),
        ("RUNTIME=docker", (), "RUNTIME=docker: expected one of none apptainer pyxis"),
        ("", ("grpo.sed=1",), "grpo.sed: no such key"),
    ],
)
def test_an_impossible_request_queues_nothing(
    make_campaign: MakeCampaign, settings: str, overrides: tuple[str, ...], message: str
) -> None:
    campaign = make_campaign(f"{settings}\n")
    result = campaign.submit(*overrides)
    assert result.returncode == 2
    assert message in result.stderr
    assert not campaign.root.exists()
    assert campaign.cluster.out("squeue", "--noheader") == ""


def test_jobs_that_slurm_would_never_start_are_cancelled(
    cluster: Cluster, make_campaign: MakeCampaign
) -> None:
    campaign = make_campaign("TIME_LIMIT=10:00:00\n")
    cluster.configure("EnforcePartLimits=ALL", "EnforcePartLimits=NO")
    try:
        result = campaign.submit()
    finally:
        cluster.configure("EnforcePartLimits=NO", "EnforcePartLimits=ALL")
    assert result.returncode == 2
    assert "would never start the jobs (PartitionTimeLimit)" in result.stderr
    campaign.wait_until_quiet()


def test_a_dry_run_leaves_nothing_behind(make_campaign: MakeCampaign) -> None:
    campaign = make_campaign()
    result = campaign.submit(options=["--dry-run"])
    assert result.returncode == 0, result.stderr
    assert str(campaign.root) in result.stdout
    assert not campaign.root.exists()
    assert campaign.cluster.out("squeue", "--noheader") == ""


def test_no_environment_no_log_directory_and_jobs_behind_the_campaign(
    cluster: Cluster, make_campaign: MakeCampaign
) -> None:
    campaign = make_campaign("SBATCH_OPTIONS=(--export=NONE --hold)\n")
    record_calls(campaign)
    campaign.start(options=["--then", "evaluate"])
    again = campaign.submit("grpo.seed=5")
    assert again.returncode == 2
    assert "in the queue with other settings" in again.stderr
    again = campaign.submit(options=["--then", "evaluate"])
    assert again.returncode == 0, again.stderr
    assert "0 segments submitted" in again.stdout
    (campaign.root / "logs").rmdir()
    jobs = [job for job, _ in campaign.queue()]
    assert len(jobs) == 2
    cluster.out("scontrol", "release", min(jobs, key=int))
    (segment,) = campaign.wait_for_segments(1)
    assert segment.outcome == "finished", campaign.logs()
    campaign.wait_until_quiet()  # the held successor is cancelled

    job = (campaign.root / "slurm" / "followups").read_text().strip()
    cluster.out("scontrol", "release", job)
    cluster.wait_for_end(job)
    verbs = [call["arguments"][0] for call in calls_of(campaign)]
    assert verbs == ["train", "evaluate", "analyze"]
    assert calls_of(campaign)[1]["arguments"][1:] == ["--run", str(campaign.root)]

    # A segment that comes too late starts nothing, and a finished campaign is not submitted.
    frozen = campaign.root / "slurm" / "001"
    late = cluster.out("sbatch", "--parsable", "--output=/dev/null", frozen / "segment.sh", frozen)
    cluster.wait_for_end(late)
    assert len(calls_of(campaign)) == 3
    assert not (campaign.root / "logs" / f"{late}.0" / "driver.log").exists()
    assert "is finished" in campaign.submit().stderr


def record_calls(campaign: Campaign) -> None:
    """Put the recorder in the place of `prorl`."""
    with campaign.settings.open("a") as file:
        file.write(f"PRORL=({sys.executable} {RECORD} {shell_word(str(campaign.root))})\n")


def shell_word(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def calls_of(campaign: Campaign) -> list[dict[str, Any]]:
    path: Path = campaign.root / "calls.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]
