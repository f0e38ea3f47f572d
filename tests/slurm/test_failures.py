"""Lost nodes, hangs, crash loops, bad nodes, damaged checkpoints, a request to stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from prorl_nemo.slurm.segments import describe_campaign
from tests.slurm.campaign import LAST_STEP, Campaign, read_manifest, read_steps
from tests.slurm.cluster import Cluster, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
MakeCampaign = Callable[..., Campaign]


def test_power_loss_of_a_worker_and_of_the_batch_host(
    cluster: Cluster, make_campaign: MakeCampaign, uninterrupted: Path
) -> None:
    campaign = make_campaign("NODES=2\n")
    campaign.start()
    job = campaign.running_job()
    # Slurm ends a job that has lost a worker, and can't tell one on a dead batch host.
    losses = ((3, 1, ("terminated", 143)), (9, 0, ("lost", None)))
    for count, (step, position, verdict) in enumerate(losses, start=1):
        campaign.wait_for_step(step)
        nodes = cluster.out(
            "scontrol", "show", "hostnames", dict(campaign.queue("RUNNING"))[job]
        ).split()
        # The tiny campaign must not end before Slurm has noticed.
        os.kill(campaign.driver_pid(), signal.SIGSTOP)
        cluster.power_off(nodes[position])
        segment = campaign.wait_for_segments(count)[-1]
        assert (segment.outcome, segment.exit_code) == verdict, campaign.logs()
        assert step - 2 <= segment.step_after < LAST_STEP  # save_period is 2
        cluster.bring_back()
    campaign.wait_until_quiet()

    segments = campaign.segments()
    assert [segment.outcome for segment in segments] == ["terminated", "lost", "finished"]
    assert [(segment.job, segment.restart) for segment in segments] == [(job, n) for n in range(3)]
    for before, after in pairwise(segments):
        # A trainer that outlives its job by seconds may still save.
        assert before.step_after <= after.step_before < LAST_STEP
    assert read_steps(campaign.root) == read_steps(uninterrupted)
    assert read_manifest(campaign.root, LAST_STEP) == read_manifest(uninterrupted, LAST_STEP)


def test_a_crash_loop_ends_after_three_segments(make_campaign: MakeCampaign) -> None:
    campaign = make_campaign()
    campaign.start(f"policy.model_name={campaign.root}/no-such-model", "policy.tokenizer.name=x")
    wait_until((campaign.root / "slurm" / "STALLED").exists, "the campaign to be given up")
    campaign.wait_until_quiet()
    assert campaign.outcomes() == ["crashed"] * 3
    assert all(segment.exit_code != 0 for segment in campaign.segments())
    status = describe_campaign(campaign.root)
    assert str(status["stalled"]).startswith("3 segments in a row without progress")


def test_a_hang_is_killed_and_retried_and_stop_ends_the_campaign(
    cluster: Cluster, make_campaign: MakeCampaign
) -> None:
    campaign = make_campaign("HANG_SECONDS=10\n")
    long = "prorl.schedule.0.num_steps=5000"
    campaign.start(long)
    campaign.wait_for_step(3)
    os.kill(campaign.driver_pid(), signal.SIGSTOP)
    hung = campaign.wait_for_segments(1)[0]
    assert hung.outcome == "hang", campaign.logs()

    # Python has left byte code beside the frozen code by now: it is the same code.
    again = campaign.submit(long)
    assert again.returncode == 0, again.stderr
    assert "0 segments submitted" in again.stdout

    campaign.wait_for_step(hung.step_after + 3)
    cluster.out("scancel", campaign.running_job())
    cancelled = campaign.wait_for_segments(2)[1]
    assert cancelled.outcome == "terminated", campaign.logs()
    assert cancelled.step_before == hung.step_after

    campaign.wait_for_step(cancelled.step_after + 3)
    assert campaign.queue("PENDING"), "a successor waits"
    (campaign.root / "STOP").touch()
    stopped = campaign.wait_for_segments(3)[2]
    assert (stopped.outcome, stopped.exit_code) == ("stopped", 0), campaign.logs()
    assert stopped.step_before >= cancelled.step_after
    campaign.wait_until_quiet()
    assert len(campaign.segments()) == 3


def test_where_nodes_may_not_submit_a_segment_requeues_itself(
    cluster: Cluster, make_campaign: MakeCampaign
) -> None:
    programs = cluster.root / "no sbatch on nodes"
    programs.mkdir()
    (programs / "sbatch").write_text(
        '#!/bin/bash\n[[ -z ${SLURMD_NODENAME:-} ]] && exec /usr/bin/sbatch "$@"\nexit 1\n'
    )
    (programs / "sbatch").chmod(0o755)
    campaign = make_campaign(f"CHAIN_LENGTH=1 PATH='{programs}':$PATH\n")
    campaign.record_calls(num_yields=1)
    campaign.start()
    campaign.wait_until_quiet()
    first, second = campaign.segments()
    assert (first.outcome, second.outcome) == ("yielded", "finished"), campaign.logs()
    assert (second.job, second.restart) == (first.job, 1)


def test_a_node_that_fails_preflight_is_excluded(
    cluster: Cluster, make_campaign: MakeCampaign
) -> None:
    campaign = make_campaign("MIN_FREE_GB=1 NODES=3\n")
    cluster.out("fallocate", "--length=500M", "/tmp/full", node="n2")
    try:
        campaign.start()
        segment = campaign.wait_for_segments(1)[0]
        assert (segment.outcome, segment.nodes) == ("preflight", "n[1-3]"), campaign.logs()
        assert not (campaign.root / "logs" / segment.log / "driver.log").exists()
        bad = (campaign.root / "slurm" / "bad_nodes.tsv").read_text().split("\t")
        assert bad[0] == "n2"
        assert "MiB free, wanted 1 GiB" in bad[3]
        wait_until(
            lambda: [nodes for _, nodes in campaign.queue("RUNNING")] == ["n[1,3-4]"],
            "the successor to run on the other nodes",
        )
        for job, _ in campaign.queue("PENDING"):
            assert "ExcNodeList=n2" in cluster.out("scontrol", "show", "job", job)
    finally:
        cluster.out("rm", "/tmp/full", node="n2")


def test_a_damaged_checkpoint_falls_back_one_and_says_so(
    cluster: Cluster, make_campaign: MakeCampaign, uninterrupted: Path
) -> None:
    campaign = make_campaign()
    campaign.start()
    campaign.wait_for_step(3)
    with campaign.paused():
        successors = [job for job, _ in campaign.queue("PENDING")]
        cluster.out("scontrol", "hold", ",".join(successors))
        campaign.signal("USR1")
    segment = campaign.wait_for_segments(1)[0]
    newest = campaign.root / "checkpoints" / f"step_{segment.step_after:06d}"
    (weights,) = newest.glob("policy/model*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-5] ^= 0x40
    weights.write_bytes(content)
    cluster.out("scontrol", "release", ",".join(successors))
    campaign.wait_until_quiet()

    assert campaign.outcomes() == ["yielded", "finished"], campaign.logs()
    log = campaign.root / "logs" / campaign.segments()[1].log / "driver.log"
    assert "falling back to the checkpoint before it" in log.read_text()
    assert read_steps(campaign.root) == read_steps(uninterrupted)
    assert read_manifest(campaign.root, LAST_STEP) == read_manifest(uninterrupted, LAST_STEP)
