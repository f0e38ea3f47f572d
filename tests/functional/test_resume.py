"""A campaign that is killed at any moment ends as if nothing had happened, bit for bit.

`tests/resume_torture.py` is the long form.
"""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from tests.support.campaigns import (
    CampaignServer,
    KillAt,
    assert_same_campaign,
    finish,
    num_rows,
    read_history,
    read_state,
    wait_until,
)


def test_the_campaign_has_what_the_tests_are_about(whole_campaign: Path) -> None:
    state = read_state(whole_campaign, 9)
    reasons = [(event["step"], event["reason"]) for event in state["resets"]]
    assert reasons == [(3, "period"), (5, "run_start"), (8, "period")]
    assert any(row["num_groups_carried"] for row in read_history(whole_campaign)[1:])
    assert all(row["kl"] == 0.0 for row in read_history(whole_campaign) if row["step"] in (4, 6, 9))


def test_the_same_campaign_twice_gives_the_same_bits(
    campaigns: CampaignServer, whole_campaign: Path, tmp_path: Path
) -> None:
    finish(campaigns, tmp_path / "run")
    assert_same_campaign(tmp_path / "run", whole_campaign)


def test_kill_at_random_moments(
    campaigns: CampaignServer, whole_campaign: Path, tmp_path: Path
) -> None:
    root, rng, kills = tmp_path / "run", random.Random(20), 0
    process = campaigns.train(root)
    for row in (2, 4, 7):
        wait_until(lambda row=row: num_rows(root) >= row)
        time.sleep(rng.uniform(0.0, 0.15))  # somewhere in rollout, update, validation or save
        if process.kill().code == -signal.SIGKILL:
            kills += 1
            process = campaigns.train(root)
    assert kills >= 2
    process.wait()
    finish(campaigns, root)
    assert_same_campaign(root, whole_campaign)


# The moments at which something durable is half done.
MOMENTS = {
    "in the warm start": KillAt("open", "config.json", 4),
    "while saving the warm-started model": KillAt("os.rename", ".incomplete-base"),
    "while filling a checkpoint": KillAt("open", ".incomplete-step_000002/policy/config.json"),
    "before the state is in it": KillAt("open", ".incomplete-step_000004/train_state.json"),
    "before its manifest": KillAt("open", ".incomplete-step_000006/.incomplete-manifest.json"),
    "before its rename": KillAt("os.rename", ".incomplete-step_000004"),
    "while an old one is removed": KillAt("shutil.rmtree", ".incomplete-remove-step_000000", 2),
    "while pinning": KillAt("os.rename", "pins/.incomplete-step_000003"),
    "between the pin and the next checkpoint": KillAt(
        "open", "checkpoints/.incomplete-step_000004/policy/config.json"
    ),
    "between the pin and the checkpoint of a run's start": KillAt(
        "open", "checkpoints/.incomplete-step_000005/train_state.json", 2
    ),
    "while that checkpoint replaces the end of the run before": KillAt(
        "os.rename", "checkpoints/.incomplete-step_000005", 2
    ),
    "while the replaced one is removed": KillAt("shutil.rmtree", ".replaced-step_000005", 2),
    "between the last checkpoint and the end": KillAt(
        "os.rename", "checkpoints/.incomplete-step_000009"
    ),
}


QUICK = (
    "in the warm start",
    "while filling a checkpoint",
    "between the pin and the next checkpoint",
    "while that checkpoint replaces the end of the run before",
)


@pytest.mark.parametrize(
    "moment",
    [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in MOMENTS],
)
def test_kill_at_a_bad_moment(
    campaigns: CampaignServer, whole_campaign: Path, tmp_path: Path, moment: str
) -> None:
    root = tmp_path / "run"
    died = campaigns.train(root, kill_at=MOMENTS[moment]).wait()
    assert died.code == -signal.SIGKILL, died.output
    finish(campaigns, root)
    assert_same_campaign(root, whole_campaign)
    assert [*root.rglob(".incomplete*"), *root.rglob(".replaced*")] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_exits_cleanly(
    campaigns: CampaignServer, whole_campaign: Path, tmp_path: Path, number: int
) -> None:
    root = tmp_path / "run"
    process = campaigns.train(root)
    wait_until(lambda: num_rows(root) >= 4)
    process.signal(number)
    stopped = process.wait()
    assert stopped.code == 0, stopped.output
    assert f"stopped (received {signal.Signals(number).name})" in stopped.output
    last = read_history(root)[-1]["step"]
    assert last < 9
    assert read_state(root, last)["step"] == last  # no step done in vain
    finish(campaigns, root)
    assert_same_campaign(root, whole_campaign)


def test_a_stop_file_is_obeyed_once(
    campaigns: CampaignServer, whole_campaign: Path, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    root.mkdir()
    (root / "STOP").touch()
    stopped = campaigns.train(root).wait()
    assert stopped.code == 0
    assert "stopped (file STOP)" in stopped.output
    assert [row["step"] for row in read_history(root)] == [0, 1]
    finish(campaigns, root)
    assert_same_campaign(root, whole_campaign)


def test_a_save_file_makes_a_checkpoint(
    campaigns: CampaignServer, whole_campaign: Path, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    root.mkdir()
    (root / "SAVE").touch()
    (root / "STOP").touch()
    campaigns.train(root, "checkpointing.save_period=100").wait()
    (root / "SAVE").touch()
    finish(campaigns, root, "checkpointing.save_period=100", "checkpointing.keep_top_k=9")
    assert not (root / "SAVE").exists()
    assert (root / "checkpoints" / "step_000002").is_dir()
    assert_same_campaign(root, whole_campaign)


@pytest.mark.slow
def test_stopping_and_resuming_at_every_step(
    campaigns: CampaignServer, whole_campaign: Path, tmp_path: Path
) -> None:
    """The carry-over buffer, the reset state and the reference survive every boundary."""
    root = tmp_path / "run"
    root.mkdir()
    for step in range(1, 10):
        (root / "STOP").touch()
        assert campaigns.train(root).wait().code == 0
        assert read_state(root, step)["step"] == step
    finish(campaigns, root)
    assert_same_campaign(root, whole_campaign)


def test_the_kl_is_zero_after_a_resume_right_behind_a_reset(
    campaigns: CampaignServer, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    process = campaigns.train(root, "checkpointing.save_period=1", "prorl.reset.period_steps=2")
    wait_until(lambda: (root / "checkpoints" / "step_000002").exists())
    process.kill()
    finish(campaigns, root, "checkpointing.save_period=1", "prorl.reset.period_steps=2")
    kl = {row["step"]: row["kl"] for row in read_history(root)[1:] if "kl" in row}
    assert kl[3] == 0.0
    assert max(kl.values()) > 0.0  # the figure is alive


def test_a_reset_by_hand_happens_once(campaigns: CampaignServer, tmp_path: Path) -> None:
    root = tmp_path / "run"
    quiet = ("prorl.reset.period_steps=null", "prorl.schedule.1.reset_at_start=false")
    process = campaigns.train(root, *quiet)
    wait_until(lambda: num_rows(root) >= 3)
    assert campaigns.start("reset", root, logs=tmp_path).wait().code == 0
    wait_until(lambda: not (root / "RESET").exists())
    process.kill()
    finish(campaigns, root, *quiet)
    assert [event["reason"] for event in read_state(root, 9)["resets"]] == ["manual"]
    rows = read_history(root)
    (at,) = [row["step"] for row in rows if row["reset"] == "manual"]
    assert rows[at + 1]["kl"] == 0.0
