"""`prorl plan` as a user on a login node runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from prorl_nemo.config_loading import read_yaml
from tests.support.campaigns import REPOSITORY

RECIPES = REPOSITORY / "conf" / "recipes"


def plan(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "prorl_nemo.cli", "plan", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe for 1,024 GPUs with one task that needs no files of problems, and one run."""
    tree = read_yaml(RECIPES / "prorl-32b-128n8g-megatron-tp8pp4.yaml")
    for section, key in (
        (tree.prorl, "train_tasks"),
        (tree.prorl.validation, "tasks"),
        (tree.prorl.evaluation, "tasks"),
    ):
        # The others read files of problems.
        section[key] = [task for task in section[key] if task.task.startswith("reasoning_gym/")][:1]
    tree.prorl.schedule = [
        {"name": name, "num_steps": steps, "reset_at_start": False, "overrides": {}}
        for name, steps in (("first", 100), ("second", 50))
    ]
    path = tmp_path_factory.mktemp("plan") / "campaign.yaml"
    OmegaConf.save(tree, path)
    return path


def test_a_plan_shows_batches_layout_memory_and_time(campaign: Path) -> None:
    done = plan("--config", str(campaign))
    assert done.returncode == 0, done.stderr
    for shown in (
        "256 groups x 16 = 4096 responses = 4 updates x 1024; 32 per data-parallel rank",
        "1024 x H100-80GB, TP 8 x PP 4 x CP 1 x DP 32",
        "weights 2.0 + gradients 4.0 + optimizer 0.4 + recomputed activations",
        "logits",
        "of 74.5",
        "cache for",
        "reference on the host",
        "generation",
        "log-probabilities",
        "run of 100 steps:",
        "run of 50 steps:",
        "assumed:",
        "campaign of 150 steps:",
        "GPU hours",
        "the configuration is sound",
    ):
        assert shown in done.stdout


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("policy.megatron_cfg.context_parallel_size=3", "1024 training GPUs don't divide"),
        ("policy.train_global_batch_size=1040", "policy.train_global_batch_size"),
        ("policy.generation.vllm_cfg.tensor_parallel_size=1", "does not fit on H100-80GB"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(campaign: Path, override: str, message: str) -> None:
    done = plan("--config", str(campaign), override)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "the configuration is sound" not in done.stdout
