"""Containers and Ray: what reaches the runtime, and what is left of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.slurm.campaign import Campaign
from tests.slurm.cluster import NODES, RAY_PYTHON, REPOSITORY, Cluster, wait_until
from tests.slurm.test_submission import HOSTILE

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
MakeCampaign = Callable[..., Campaign]
TESTS = REPOSITORY / "tests" / "slurm"


def driver_words(campaign: Campaign) -> list[str]:
    """The command that has to reach the node, whatever is around it."""
    frozen = campaign.root / "slurm" / "001"
    return [
        *("env", f"PYTHONPATH={frozen}/code:/extra path", "PYTHONUNBUFFERED=1"),
        *(sys.executable, str(TESTS / "record.py"), str(campaign.root), "0"),
        *("train", "--config", str(frozen / "config.yaml")),
        *(f"checkpointing.checkpoint_dir={campaign.root}", *HOSTILE, "--no-evaluation"),
    ]


def run_to_end(campaign: Campaign) -> None:
    campaign.record_calls()
    environment = {"PYTHONPATH": "/extra path", "IMAGE_LOG": f"{campaign.root}.words"}
    result = campaign.submit(*HOSTILE, **environment)
    assert result.returncode == 0, result.stderr
    campaign.wait_until_quiet()
    assert campaign.outcomes() == ["finished"], campaign.logs()
    (call,) = campaign.calls()
    assert call["arguments"] == driver_words(campaign)[7:]


def test_apptainer_sees_image_mounts_and_command(
    make_campaign: MakeCampaign, tmp_path: Path, cluster: Cluster
) -> None:
    programs = cluster.root / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "apptainer").write_bytes((TESTS / "apptainer_stub.sh").read_bytes())
    (programs / "apptainer").chmod(0o755)
    campaign = make_campaign(
        "RUNTIME=apptainer IMAGE='/images/nemo rl.sif' MOUNTS=('/lustre/my data:/data:ro')\n"
        f"RUNTIME_OPTIONS=(--cleanenv) PATH='{programs}':$PATH\n",
        name="it's {a} $HOME run",
    )
    run_to_end(campaign)
    words = Path(f"{campaign.root}.words").read_text().split("\0")[:-1]
    work = campaign.root.parent
    assert words == [
        *("exec", "--bind", f"{campaign.root}:{campaign.root}", "--bind", f"{work}:{work}"),
        *("--bind", "/lustre/my data:/data:ro", "--pwd", str(work), "--cleanenv"),
        *("/images/nemo rl.sif", *driver_words(campaign)),
    ]


def test_pyxis_sees_image_mounts_and_command(
    make_campaign: MakeCampaign, cluster: Cluster, pyxis_stub: Path
) -> None:
    campaign = make_campaign(
        "RUNTIME=pyxis IMAGE='nvcr.io#nvidia/nemo rl:v0.7.0' MOUNTS=('/lustre/my data:/data:ro')\n"
        "RUNTIME_OPTIONS=(--container-writable)\n",
        name="it's {a} $HOME run",
    )
    run_to_end(campaign)
    (step,) = pyxis_stub.glob(f"{campaign.segments()[0].job}.*")  # preflight is on the host
    work = campaign.root.parent
    assert step.read_text().split("\0")[:-1] == [
        "container-image=nvcr.io#nvidia/nemo rl:v0.7.0",
        f"container-mounts={campaign.root}:{campaign.root},{work}:{work},/lustre/my data:/data:ro",
        *(f"container-workdir={work}", "container-writable=yes"),
        *driver_words(campaign),
    ]


def test_ray_comes_up_on_four_nodes_and_leaves_no_process(
    make_campaign: MakeCampaign, cluster: Cluster
) -> None:
    if subprocess.run([RAY_PYTHON, "-c", "import ray"], capture_output=True).returncode != 0:
        pytest.skip("needs ray (PRORL_TEST_RAY_PYTHON names a Python that has it)")
    before = {node: set(cluster.process_ids(node)) for node in NODES}
    ray = (RAY_PYTHON, "-m", "ray.scripts.scripts")
    campaign = make_campaign(
        "NODES=4 GPUS_PER_NODE=8 PREFLIGHT=no RAY=yes TEARDOWN_SECONDS=60\n"
        f"RAY_COMMAND=({' '.join(ray)})\n"
        "RAY_OPTIONS=(--num-cpus=2 --object-store-memory=80000000)\n"
    )
    campaign.settings.write_text(
        campaign.settings.read_text()
        + f"PRORL=({RAY_PYTHON} {TESTS / 'ray_driver.py'} '{campaign.root}')\n"
    )
    campaign.start()
    wait_until((campaign.root / "ray.json").exists, f"Ray to come up: {campaign.logs}")
    found = json.loads((campaign.root / "ray.json").read_text())
    address = found.pop("address")
    assert found == {"gpus": 32, "hosts": list(NODES)}

    # Who can reach its ports but has no token is turned away.
    stranger = cluster.run(
        *ray, "status", "--address", address, node="n4", RAY_AUTH_MODE="disabled"
    )
    assert stranger.returncode != 0
    assert "Unauthenticated" in stranger.stderr + stranger.stdout

    # A part of the cluster ends while the driver waits for it.
    (raylet,) = [p for p, words in cluster.process_ids("n3").items() if "/raylet " in words]
    os.kill(raylet, signal.SIGKILL)
    assert campaign.wait_for_segments(1)[0].outcome == "ray", campaign.logs()
    campaign.wait_until_quiet()
    assert campaign.outcomes() == ["ray", "finished"], campaign.logs()
    left = {node: cluster.process_ids(node) for node in NODES}
    wait_until(
        lambda: all(set(cluster.process_ids(node)) <= before[node] for node in NODES),
        f"Ray's processes to end: {left}",
        timeout_seconds=10,
    )
