"""`prorl convert` on a full disk and killed at every stage of its writing."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from prorl_nemo.atomic_directory import verify_directory
from prorl_nemo.conversion.convert import SPARE_BYTES, convert_checkpoint
from tests.support.campaigns import CampaignServer, KillAt
from tests.unit.conversion.tiny_model import make_megatron_checkpoint


@pytest.fixture(scope="module")
def iteration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_megatron_checkpoint(tmp_path_factory.mktemp("whole"))


@contextlib.contextmanager
def mount_disk(disk: Path, *, num_files: int) -> Iterator[None]:
    """A file system of its own: just room enough for a conversion, and ``num_files`` files."""
    disk.mkdir()
    options = f"size={SPARE_BYTES + (1 << 20)},nr_inodes={num_files + 1}"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def fill_disk(ballast: Path) -> None:
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 12)):
            pass


def test_a_disk_that_others_fill_meanwhile(iteration: Path, tmp_path: Path) -> None:
    """In the middle of the weights: their first tensor is written, the others don't fit."""
    disk = tmp_path / "disk"
    out, ballast = disk / "out", disk / "ballast"
    with mount_disk(disk, num_files=20):
        with pytest.raises(ValueError, match="No space left on device") as error:
            convert_checkpoint(
                iteration, out, on_progress=lambda *_: ballast.exists() or fill_disk(ballast)
            )
        assert str(error.value) == f"{out}: could not be written: No space left on device"
        assert list(disk.iterdir()) == [ballast]
        ballast.unlink()
        assert convert_checkpoint(iteration, out).manifest_sha256 == verify_directory(out)


def test_a_disk_without_room_for_another_file(
    campaigns: CampaignServer, iteration: Path, tmp_path: Path
) -> None:
    """The weights are written; the files beside them no longer fit."""
    disk = tmp_path / "disk"
    out = disk / "out"
    with mount_disk(disk, num_files=4):
        finished = campaigns.start("convert", iteration, out, logs=tmp_path).wait()
        assert finished.code == 2
        line = f"prorl convert: {out}: could not be written: No space left on device"
        assert finished.output.splitlines()[-1] == line
        assert not list(disk.iterdir())


def test_a_file_that_may_not_grow(
    campaigns: CampaignServer, iteration: Path, tmp_path: Path
) -> None:
    """The same without a disk of its own: a limit on the size of files."""
    out = tmp_path / "target" / "out"
    finished = campaigns.start(
        "convert", iteration, out, logs=tmp_path, max_file_bytes=50_000
    ).wait()
    assert finished.code == 2
    line = f"prorl convert: {out}: could not be written: File too large"
    assert finished.output.splitlines()[-1] == line
    assert not list(out.parent.iterdir())


STAGES = {
    "before the weights": KillAt("open", "out/model.safetensors"),
    "in the middle of the weights": KillAt("open", "__0_0.distcp", count=9),
    "behind the weights": KillAt("open", "out/config.json"),
    "before the manifest": KillAt("open", "out/manifest.json"),
    "before it gets its name": KillAt("os.rename", ".incomplete-out"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_killed(campaigns: CampaignServer, iteration: Path, tmp_path: Path, stage: str) -> None:
    target = tmp_path / "target"
    out = target / "out"
    command = ("convert", iteration, out)
    died = campaigns.start(*command, logs=tmp_path, kill_at=STAGES[stage]).wait()
    assert died.code == -signal.SIGKILL
    assert target.is_dir()
    assert all(path.name.startswith(".incomplete-out") for path in target.iterdir())
    if stage == "in the middle of the weights":
        weights = (target / ".incomplete-out" / "model.safetensors").stat().st_size
        assert 0 < weights < (iteration.parents[1] / "model/model.safetensors").stat().st_size
    again = campaigns.start(*command, logs=tmp_path).wait()
    assert again.code == 0, again.output
    assert [path.name for path in target.iterdir()] == ["out"]
    once = convert_checkpoint(iteration, tmp_path / "once")
    assert verify_directory(out) == once.manifest_sha256
