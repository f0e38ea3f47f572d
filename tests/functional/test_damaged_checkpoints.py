"""Damaged checkpoints are passed over, damaged references are errors: nothing is made up."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.campaigns import (
    CampaignServer,
    KillAt,
    assert_same_campaign,
    finish,
    read_history,
    read_state,
)


@pytest.fixture(scope="module")
def stopped_at_6(campaigns: CampaignServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny campaign killed behind step 6, with checkpoints 4, 5 and 6 and pins 3 and 5."""
    root = tmp_path_factory.mktemp("stopped") / "run"
    died = campaigns.train(root, kill_at=KillAt("open", ".incomplete-step_000008/policy")).wait()
    assert died.code == -signal.SIGKILL
    kept = sorted(path.name for path in (root / "checkpoints").glob("step_*"))
    assert kept[-3:] == ["step_000004", "step_000005", "step_000006"]
    return root


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


DAMAGES = (
    (flip_a_byte, "policy/model.safetensors"),
    (cut_short, "train_state.json"),
    (Path.unlink, "policy/optimizer.safetensors"),
)


@pytest.mark.parametrize(("damage", "name"), DAMAGES)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    campaigns: CampaignServer,
    stopped_at_6: Path,
    whole_campaign: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    name: str,
) -> None:
    root = tmp_path / "run"
    shutil.copytree(stopped_at_6, root)
    damage(root / "checkpoints" / "step_000006" / name)
    output = finish(campaigns, root)
    assert "step_000006" in output
    assert "falling back" in output
    assert_same_campaign(root, whole_campaign)


def test_checkpoints_made_after_a_fallback_survive_damaged_newer_ones(
    campaigns: CampaignServer, stopped_at_6: Path, whole_campaign: Path, tmp_path: Path
) -> None:
    """Rotation keeps the newest ones: damaged checkpoints of later steps must not count."""
    root = tmp_path / "run"
    shutil.copytree(stopped_at_6, root)
    for step in (5, 6):
        flip_a_byte(root / "checkpoints" / f"step_{step:06d}" / "policy" / "model.safetensors")
    for step in (7, 8):
        (root / "checkpoints" / f"step_{step:06d}").mkdir()
    (root / "STOP").touch()
    campaigns.train(root).wait()
    assert read_history(root)[-1]["step"] == 5
    assert read_state(root, 5)["step"] == 5
    finish(campaigns, root)
    assert_same_campaign(root, whole_campaign)


def test_no_whole_checkpoint_is_an_error(
    campaigns: CampaignServer, stopped_at_6: Path, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    shutil.copytree(stopped_at_6, root)
    for path in (root / "checkpoints").glob("*/train_state.json"):
        cut_short(path)
    finished = campaigns.train(root).wait()
    assert finished.code == 2
    assert finished.output.splitlines()[-1].endswith("no checkpoint is whole")


@pytest.mark.parametrize("damage", [flip_a_byte, Path.unlink])
def test_a_damaged_pin_is_an_error_that_names_it(
    campaigns: CampaignServer, stopped_at_6: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    root = tmp_path / "run"
    shutil.copytree(stopped_at_6, root)
    damage(root / "pins" / "step_000005" / "policy" / "model.safetensors")
    finished = campaigns.train(root).wait()
    assert finished.code == 2
    assert "pins/step_000005" in finished.output.splitlines()[-1]
    assert "Traceback" not in finished.output


def test_another_pin_under_the_same_name_is_refused(
    campaigns: CampaignServer, stopped_at_6: Path, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    shutil.copytree(stopped_at_6, root)
    shutil.rmtree(root / "pins" / "step_000005")
    shutil.copytree(root / "pins" / "step_000003", root / "pins" / "step_000005")
    finished = campaigns.train(root).wait()
    assert finished.code == 2
    assert "not the reference that step 5 pinned" in finished.output
