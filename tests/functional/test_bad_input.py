"""Bad input through the real command: one line that names the cause, exit code 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from prorl_nemo.cli import main
from tests.support.campaigns import REPOSITORY, TINY_CAMPAIGN, CampaignServer


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("grpo.sed=3", "grpo.sed: no such key; did you mean grpo.seed?"),
        ("loss_fn.ratio_clip_min=-0.2", "loss_fn.ratio_clip_min: "),
        ("grpo.num_generations_per_prompt=1", "grpo.num_generations_per_prompt: "),
        ("prorl.train_tasks=[]", "prorl.train_tasks"),
        ("prorl.train_tasks.0.task=reasoning_gym/nonsense", "no data set 'nonsense'"),
        ("prorl.train_tasks.0.task=astrology", "unknown task 'astrology'"),
    ],
)
def test_a_wrong_configuration_is_named(
    override: str,
    named: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    code = main(train(tmp_path / "run", override))
    error = capsys.readouterr().err
    assert code == 2
    assert named in error
    assert error.count("\n") == 1


def test_a_model_directory_without_weights_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    code = main(train(tmp_path / "run", f"policy.model_name={model}"))
    assert code == 2
    assert f"policy.model_name: {model} holds no weights" in capsys.readouterr().err


def test_a_full_disk_leaves_no_checkpoint_that_looks_whole(
    campaigns: CampaignServer, whole_campaign: Path, tmp_path: Path
) -> None:
    """No file may grow beyond 64 KiB: the weights don't fit."""
    root = tmp_path / "run"
    finished = campaigns.train(root, max_file_bytes=1 << 16).wait()
    assert finished.code == 2
    assert not list((root / "checkpoints").glob("step_*"))
    assert campaigns.train(root).wait().code == 0


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "--config", str(TINY_CAMPAIGN)]])
def test_looking_needs_no_torch(arguments: list[str]) -> None:
    loaded = modules_loaded_by(f"from prorl_nemo.cli import main; main({arguments!r})")
    assert "prorl_nemo.cli" in loaded
    assert not {"torch", "transformers"} & loaded


def test_the_loop_loads_no_engine() -> None:
    loaded = modules_loaded_by("import prorl_nemo.train")
    assert "prorl_nemo.train" in loaded
    assert not {"ray", "nemo_rl", "transformers", "megatron"} & loaded


def modules_loaded_by(code: str) -> set[str]:
    program = f"import atexit, sys; atexit.register(lambda: print('LOADED', *sys.modules)); {code}"
    finished = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env={"PYTHONHASHSEED": "0", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(finished.stdout.rpartition("LOADED")[2].split())


def train(root: Path, *overrides: str) -> list[str]:
    directory = f"checkpointing.checkpoint_dir={root}"
    return ["train", "--config", str(TINY_CAMPAIGN), directory, *overrides]
