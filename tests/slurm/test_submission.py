"""What submit.sh accepts, refuses and passes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from tests.slurm.campaign import Campaign
from tests.slurm.cluster import REPOSITORY, Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
MakeCampaign = Callable[..., Campaign]
HOSTILE = (
    "logger.wandb.name=two words  'single' \"double\" back\\slash `id` $(id) $HOME",
    "logger.wandb.project={a,b} * ? [x] ; & | > < # ! ~ %j %% -n --flag é\ttab",
)
HOSTILE_DIRECTORY = 'it\'s a $HOME {run} %j "dir" *'


PERSONAL_SETTINGS = {
    "SQUEUE_PARTITION": "none",
    "SCANCEL_INTERACTIVE": "1",
    "SLURM_TIME_FORMAT": "%H",
}


def test_arguments_arrive_byte_for_byte(make_campaign: MakeCampaign) -> None:
    """From a checkout without git, in directories with any name, whatever the user's settings."""
    campaign = make_campaign(name=f"{HOSTILE_DIRECTORY}/{HOSTILE_DIRECTORY}")
    campaign.record_calls()
    checkout = campaign.root.parent / "check out"
    for part in ("slurm", "prorl_nemo"):
        shutil.copytree(REPOSITORY / part, checkout / part)
    result = campaign.submit(*HOSTILE, checkout=checkout, **PERSONAL_SETTINGS)
    assert result.returncode == 0, result.stderr
    campaign.wait_until_quiet()
    assert len(list((campaign.root / "logs").glob("*.0"))) == 1, "the successor was cancelled"
    assert len((campaign.root / "slurm" / "submitted").read_text().split()) == 2
    assert campaign.outcomes() == ["finished"], campaign.logs()
    (call,) = campaign.calls()
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
        ("PARTITON=batch", (), "cluster.env: PARTITON: no such setting"),
        ("NODES = 4\ntrue", (), "cluster.env: a command in it fails"),
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
    campaign.record_calls()
    team = "logger.wandb.project=${oc.env:TEAM}"
    campaign.start(team, options=["--then", "evaluate"], TEAM="it's {a} $HOME")
    again = campaign.submit("grpo.seed=5")
    assert again.returncode == 2
    assert "in the queue with other settings" in again.stderr
    again = campaign.submit(team, options=["--then", "evaluate"], TEAM="it's {a} $HOME")
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
    assert campaign.calls()[0]["environment"]["TEAM"] == "it's {a} $HOME"
    verbs = [call["arguments"][0] for call in campaign.calls()]
    assert verbs == ["train", "evaluate", "analyze"]
    assert campaign.calls()[1]["arguments"][1:] == ["--run", str(campaign.root)]

    # A segment that comes too late starts nothing, and a finished campaign is not submitted.
    frozen = campaign.root / "slurm" / "001"
    late = cluster.out("sbatch", "--parsable", "--output=/dev/null", frozen / "segment.sh", frozen)
    cluster.wait_for_end(late)
    assert len(campaign.calls()) == 3
    assert not (campaign.root / "logs" / f"{late}.0" / "driver.log").exists()
    assert "is finished" in campaign.submit().stderr

    # By hand, with a path relative to where one is.
    submit = REPOSITORY / "slurm" / "submit.sh"
    work = campaign.root.parent
    now = cluster.run(submit, "--now", "convert", campaign.root.name, cwd=work)
    assert now.returncode == 0, now.stderr
    cluster.out("scontrol", "release", now.stdout.strip())
    cluster.wait_for_end(now.stdout.strip())
    hf = str(campaign.root / "hf")
    assert campaign.calls()[3]["arguments"] == ["convert", str(campaign.root), hf, "--verify"]
    for words, message in (
        (("--now", "eval", campaign.root.name), "eval: expected evaluate or convert"),
        (("--now", "convert", "."), ".: not a finished campaign"),
        (("--cluster",), "--cluster: needs a value"),
    ):
        refused = cluster.run(submit, *words, cwd=work)
        assert refused.returncode == 2
        assert message in refused.stderr
