"""preflight.sh on this machine, with an nvidia-smi that says what the test wants."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "slurm" / "preflight.sh"
NVIDIA_SMI = """\
#!/usr/bin/env bash
case $1 in
  --query-gpu=index) printf '0\\n1\\n2\\n3\\n4\\n5\\n6\\n7\\n' | head -n {count} ;;
  --query-gpu=ecc.errors.uncorrected.volatile.total) printf '{ecc}\\n0\\n' ;;
  --query-remapped-rows=remapped_rows.failure) printf '{remap}\\n0\\n' ;;
esac
[[ {count} != 0 ]]
"""


def check(
    directory: Path,
    *,
    gpus: int = 0,
    min_free_gb: int = 0,
    skew: int = 0,
    port: int = 0,
    count: int = 8,
    ecc: str = "0",
    remap: str = "0",
) -> list[str]:
    """The reasons against this node; none when it is fit."""
    tool = directory / "bin" / "nvidia-smi"
    tool.parent.mkdir(exist_ok=True)
    tool.write_text(NVIDIA_SMI.format(count=count, ecc=ecc, remap=remap))
    tool.chmod(0o755)
    (directory / "token").write_text(f"{directory}\n")
    arguments = [directory, gpus, min_free_gb, "/tmp", int(time.time()) - skew, 30, port]
    subprocess.run(
        ["bash", SCRIPT, *map(str, arguments)],
        env={**os.environ, "PATH": f"{tool.parent}:{os.environ['PATH']}", "SLURMD_NODENAME": "n1"},
        check=True,
    )
    return (directory / "n1").read_text().splitlines()


def test_a_sound_node_has_no_reasons(tmp_path: Path) -> None:
    assert check(tmp_path, gpus=8, min_free_gb=0) == []


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"gpus": 8, "count": 7}, "7 GPUs, wanted 8"),
        ({"gpus": 8, "count": 0}, "nvidia-smi shows no GPU"),
        ({"gpus": 8, "ecc": "3"}, "3 uncorrected memory errors since the last reset"),
        ({"gpus": 8, "remap": "1"}, "1 GPUs could not remap a failed memory row"),
        ({"min_free_gb": 10**6}, f"MiB free, wanted {10**6} GiB"),
        ({"skew": 100}, "clock is 100 s from the batch host's"),
        ({"skew": -100}, "clock is -100 s from the batch host's"),
    ],
)
def test_a_fault_is_named(tmp_path: Path, wrong: dict[str, int | str], reason: str) -> None:
    (line,) = check(tmp_path, **wrong)  # type: ignore[arg-type]
    if "clock" in reason:  # a second may pass while the script starts
        assert line in {reason, reason.replace("100", "101"), reason.replace("100", "99")}
    else:
        assert line.endswith(reason)


def test_gpus_without_error_counters_are_fit(tmp_path: Path) -> None:
    assert check(tmp_path, gpus=8, ecc="[N/A]", remap="[N/A]") == []


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert check(tmp_path, port=port) == [f"port {port} is in use"]
    assert check(tmp_path, port=port) == []


def test_files_that_are_not_shared_are_named(tmp_path: Path) -> None:
    check(tmp_path)
    (tmp_path / "token").write_text("another\n")
    arguments = [tmp_path, 0, 0, "/tmp", int(time.time()), 30, 0]
    environment = {**os.environ, "SLURMD_NODENAME": "n2"}
    subprocess.run(["bash", SCRIPT, *map(str, arguments)], env=environment, check=True)
    assert "not a shared file system" in (tmp_path / "n2").read_text()
