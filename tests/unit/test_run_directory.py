from __future__ import annotations

import json
from pathlib import Path

import pytest

from prorl_nemo.config_campaign import Config
from prorl_nemo.config_loading import load_config
from prorl_nemo.run_directory import (
    find_differences,
    is_running,
    load_frozen_config,
    owned_run_directory,
)
from tests.support.campaigns import REPOSITORY


def load(*overrides: str) -> Config:
    return load_config(REPOSITORY / "conf" / "local.yaml", overrides)


@pytest.fixture(scope="module")
def config() -> Config:
    return load()


def test_the_same_campaign_may_come_back(tmp_path: Path, config: Config) -> None:
    for _ in range(2):
        with owned_run_directory(tmp_path / "run", config) as root:
            assert load_frozen_config(root) == config


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("grpo.seed=7", "grpo.seed: 1 -> 7"),
        ("policy.optimizer.betas.1=0.5", "policy.optimizer.betas.1: 0.999 -> 0.5"),
        ("policy.model_name=/elsewhere", "policy.model_name: 'tiny' -> '/elsewhere'"),
        ("prorl.schedule.0.num_steps=7", "prorl.schedule.0.num_steps: "),
        ("~prorl.train_tasks.2", "prorl.train_tasks.2.name: 'letter_counting' -> None"),
    ],
)
def test_another_configuration_is_refused_by_key(
    tmp_path: Path, config: Config, override: str, named: str
) -> None:
    with owned_run_directory(tmp_path, config):
        pass
    before = (tmp_path / "config.json").read_bytes()
    with (
        pytest.raises(ValueError, match="belongs to another campaign") as error,
        owned_run_directory(tmp_path, load(override)),
    ):
        pass
    assert named in str(error.value)
    assert (tmp_path / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    "override",
    ["checkpointing.save_period=3", "logger.tensorboard_enabled=false", "policy.device=cpu"],
)
def test_what_changes_no_result_may_differ(tmp_path: Path, config: Config, override: str) -> None:
    with owned_run_directory(tmp_path, config):
        pass
    with owned_run_directory(tmp_path, load(override)):
        pass


def test_a_change_can_be_insisted_on(tmp_path: Path, config: Config) -> None:
    changed = load("grpo.seed=7")
    with owned_run_directory(tmp_path, config):
        pass
    with owned_run_directory(tmp_path, changed, allow_config_change=True):
        pass
    with owned_run_directory(tmp_path, changed):
        assert load_frozen_config(tmp_path).grpo.seed == 7


def test_two_processes_do_not_share_it(tmp_path: Path, config: Config) -> None:
    with owned_run_directory(tmp_path, config):
        assert is_running(tmp_path)
        with (
            pytest.raises(ValueError, match="another process is running this campaign"),
            owned_run_directory(tmp_path, config),
        ):
            pass
    assert not is_running(tmp_path)


def write_model(directory: Path, weights: bytes) -> None:
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(weights)


def test_other_weights_under_the_same_name_are_another_model(tmp_path: Path) -> None:
    """Of the same size: a fine-tuned copy differs in nothing else."""
    model, root = tmp_path / "model", tmp_path / "run"
    config = load(f"policy.model_name={model}")
    write_model(model, b"a" * 1000)
    with owned_run_directory(root, config):
        pass
    with owned_run_directory(root, config):
        pass
    write_model(model, b"b" * 1000)
    with (
        pytest.raises(ValueError, match="belongs to another campaign: model:"),
        owned_run_directory(root, config),
    ):
        pass


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a run directory"):
        load_frozen_config(tmp_path)
    assert not is_running(tmp_path)


def test_differences_by_hand() -> None:
    old = {"config": {"a": [1, {"b": 2}], "logger": {"x": 1}}, "model": None}
    new = json.loads(json.dumps(old))
    assert find_differences(old, new) == []
    new["config"]["a"] = [1, {"b": 3}, 4]
    new["config"]["logger"]["x"] = 2
    assert find_differences(old, new) == ["a.1.b: 2 -> 3", "a.2: None -> 4"]
