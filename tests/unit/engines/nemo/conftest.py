"""Loading of the shipped campaigns, checked as NeMo-RL campaigns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from prorl_nemo import config_loading
from prorl_nemo.engines.nemo.config import NemoCampaignConfig

CONF = Path(__file__).resolve().parents[4] / "conf"
CAMPAIGNS = [CONF / "prorl_1.5b.yaml", *sorted((CONF / "recipes").glob("prorl-*.yaml"))]

LoadCampaign = Callable[..., NemoCampaignConfig]


@pytest.fixture(scope="session")
def small_campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """conf/prorl_1.5b.yaml with five of its tasks and two of its runs, quick to check."""
    tree = config_loading.read_yaml(CAMPAIGNS[0])
    tree.prorl.train_tasks = tree.prorl.train_tasks[:5]
    tree.prorl.schedule = [tree.prorl.schedule[0], tree.prorl.schedule[7]]
    path = tmp_path_factory.mktemp("campaign") / "small.yaml"
    OmegaConf.save(tree, path)
    return path


@pytest.fixture
def load_campaign() -> LoadCampaign:
    """``load_campaign(path=..., overrides=[...])``: the campaign, all of its runs checked."""

    def load(path: Path = CAMPAIGNS[0], overrides: tuple[str, ...] = ()) -> NemoCampaignConfig:
        config = config_loading.load_config(path, overrides)
        assert isinstance(config, NemoCampaignConfig)
        return config

    return load
