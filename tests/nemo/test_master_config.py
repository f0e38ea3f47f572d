"""Every shipped campaign becomes a MasterConfig of the real NeMo-RL."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("nemo_rl", reason="needs a NeMo-RL v0.7.0 source tree on PYTHONPATH")

from nemo_rl.algorithms.grpo import MasterConfig
from omegaconf import OmegaConf

from prorl_nemo.config_loading import read_yaml
from prorl_nemo.engines.nemo.config import NemoCampaignConfig
from prorl_nemo.engines.nemo.master_config import build_master_config
from prorl_nemo.engines.nemo.release import find_release_root, require_nemo_rl

pytestmark = pytest.mark.nemo

CONF = Path(__file__).resolve().parents[2] / "conf"
CAMPAIGNS = [CONF / "prorl_1.5b.yaml", *sorted((CONF / "recipes").glob("prorl-*.yaml"))]


def load(path: Path, *overrides: str) -> NemoCampaignConfig:
    tree = OmegaConf.to_container(read_yaml(path, overrides), resolve=True)
    return NemoCampaignConfig.model_validate(tree)


def build(config: NemoCampaignConfig, tmp_path: Path) -> MasterConfig:
    return build_master_config(config, release_root=find_release_root(), run_directory=tmp_path)


@pytest.mark.parametrize("path", CAMPAIGNS, ids=lambda path: path.stem)
def test_a_shipped_campaign_is_accepted(path: Path, tmp_path: Path) -> None:
    config = load(path)
    master = build(config, tmp_path)
    assert master.grpo["use_dynamic_sampling"] is False
    assert master.policy["train_global_batch_size"] == config.policy.train_global_batch_size
    assert master.loss_fn.ratio_clip_max == config.loss_fn.ratio_clip_max
    assert master.cluster["num_nodes"] == config.cluster.num_nodes
    if config.policy.megatron_cfg.enabled:
        fp8 = config.policy.megatron_cfg.fp8_cfg
        assert master.policy["megatron_cfg"]["fp8_cfg"]["enabled"] == fp8.enabled
        assert master.policy["optimizer"] is None
    else:
        assert master.policy["dtensor_cfg"]["_v2"] is True


def test_an_override_reaches_nemo_rl(tmp_path: Path) -> None:
    key = "policy.megatron_cfg.apply_rope_fusion"
    config = load(CAMPAIGNS[0], f"prorl.nemo.overrides={{{key}: false}}")
    assert build(config, tmp_path).policy["megatron_cfg"]["apply_rope_fusion"] is False


def test_an_override_of_no_key_is_refused_by_name(tmp_path: Path) -> None:
    config = load(CAMPAIGNS[0], "prorl.nemo.overrides={policy.megatron_cfg.aply_rope_fusion: 0}")
    with pytest.raises(ValueError, match=r"overrides\.policy\.megatron_cfg\.aply_rope_fusion"):
        build(config, tmp_path)


def test_the_release_is_the_supported_one() -> None:
    assert require_nemo_rl().startswith("0.7.0")


def test_another_release_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import nemo_rl.package_info

    monkeypatch.setattr(nemo_rl.package_info, "__version__", "0.8.0")
    with pytest.raises(ValueError, match=r"NeMo-RL 0\.8\.0 is not supported, v0\.7\.0 is"):
        require_nemo_rl()
