"""`prorl evaluate --processes`: the very files of one process, and no process left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.campaigns import REPOSITORY
from tests.support.tiny_policy import write_tiny_policy

CONFIG = REPOSITORY / "tests" / "support" / "tiny_campaign.yaml"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_policy(tmp_path_factory.mktemp("model") / "one", seed=1)


def evaluate(model: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "prorl_nemo.cli", "evaluate", "--config", str(CONFIG)),
            *("prorl.evaluation.num_samples=16", "--out", str(out)),
            *("--model", f"base={model}", "--model", f"final={model}", *options),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def read(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.json*")}


def test_several_processes_write_what_one_does(model: Path, tmp_path: Path) -> None:
    assert evaluate(model, tmp_path / "one").returncode == 0
    shared = evaluate(model, tmp_path / "two", "--processes", "2")
    assert shared.returncode == 0, shared.stderr
    assert len(read(tmp_path / "one")) >= 4
    assert read(tmp_path / "two") == read(tmp_path / "one")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--part", "2/2"), "--part 2/2: expected I/N, such as 0/8 to 7/8"),
        (("--part", "1"), "--part 1: expected I/N, such as 0/8 to 7/8"),
        (("--processes", "2", "prorl.evaluation.top_p=7"), "prorl.evaluation.top_p"),
    ],
)
def test_a_wrong_option_is_one_line(
    model: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    failed = evaluate(model, tmp_path / "out", *options)
    assert failed.returncode != 0
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
