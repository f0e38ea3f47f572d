from __future__ import annotations

from pathlib import Path

import pytest

from prorl_nemo.config_loading import ConfigError, load_config
from prorl_nemo.slurm.freeze import FrozenFacts, freeze_config, main

LOCAL = Path(__file__).resolve().parents[3] / "conf" / "local.yaml"


def test_the_frozen_file_means_the_same_and_needs_no_other(tmp_path: Path) -> None:
    source = tmp_path / "source" / "mine.yaml"
    source.parent.mkdir()
    source.write_text(f"defaults: {LOCAL}\ngrpo: {{seed: 5}}\n")
    target = tmp_path / "frozen.yaml"
    override = "checkpointing.checkpoint_dir=${oc.env:HOME}/it's here"
    freeze_config(source, [override], target)
    before = load_config(source, [override])
    source.unlink()
    assert load_config(target, [override]) == before
    assert "defaults" not in target.read_text()
    assert "it's here" not in target.read_text()  # overrides stay arguments


def test_facts_for_the_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEAM", "it's {a}")
    overrides = ["checkpointing.checkpoint_dir=a b", "+cluster.num_nodes=4"]
    overrides += ["logger.wandb.project=${oc.env:TEAM}", "logger.wandb.name=${oc.env:UNSET_HERE,x}"]
    facts = freeze_config(LOCAL, overrides, tmp_path / "out.yaml")
    assert facts == FrozenFacts(
        run_dir=tmp_path / "a b",
        engine="local",
        num_nodes=4,
        gpus_per_node=None,
        model="tiny",
        environment={"TEAM": "it's {a}"},
    )
    assert facts.words() == [str(tmp_path / "a b"), "local", "4", "", "tiny", "TEAM=it's {a}"]


def test_a_wrong_key_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(LOCAL), str(tmp_path / "out.yaml"), "grpo.sed=1"]) == 2
    assert capsys.readouterr().err == "submit: grpo.sed: no such key; did you mean grpo.seed?\n"
    overrides = ["checkpointing.checkpoint_dir=null"]
    with pytest.raises(ConfigError, match="checkpoint_dir: missing"):
        freeze_config(LOCAL, overrides, tmp_path / "out.yaml")
