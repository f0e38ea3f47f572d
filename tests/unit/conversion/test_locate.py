from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from safetensors.torch import save_file
from torch import zeros

from prorl_nemo.conversion.convert import convert_checkpoint
from prorl_nemo.conversion.locate import CheckpointSource, locate_checkpoint
from tests.unit.conversion.tiny_model import make_megatron_checkpoint, make_tiny_model


def make_local_run(run: Path, best_step: int) -> None:
    """Step directories as the local engine writes them."""
    for step in (10, 20, 30):
        policy = run / "checkpoints" / f"step_{step:06d}" / "policy"
        policy.mkdir(parents=True)
        save_file({"a": zeros(1)}, policy / "model.safetensors")
        save_file({"exp_avg": zeros(1)}, policy / "optimizer.safetensors")
        state = {"version": 1, "step": step, "best_step": best_step if step == 30 else 10}
        (policy.parent / "train_state.json").write_text(json.dumps(state))


def make_nemo_step(directory: Path, step: int, accuracy: float | None, weights: str) -> Path:
    """A step directory of NeMo-RL with an empty safetensors or torch_dist place."""
    place = directory / f"step_{step}" / "policy" / weights
    place.mkdir(parents=True)
    if "iter" in weights:
        (place / "metadata.json").write_text("{}")
    else:
        save_file({"a": zeros(1)}, place / "model.safetensors")
    info = {"total_steps": step} | ({} if accuracy is None else {"val:accuracy": accuracy})
    (directory / f"step_{step}" / "training_info.json").write_text(json.dumps(info))
    config = {"checkpointing": {"metric_name": "val:accuracy", "higher_is_better": True}}
    (directory / f"step_{step}" / "config.yaml").write_text(yaml.safe_dump(config))
    return place


def locate(path: Path, **choices: object) -> CheckpointSource:
    return locate_checkpoint(path, **choices)  # type: ignore[arg-type]


def test_steps_of_a_local_run(tmp_path: Path) -> None:
    make_local_run(tmp_path, best_step=20)
    assert locate(tmp_path).step == 30
    assert locate(tmp_path, choice="best").step == 20
    found = locate(tmp_path, step=10)
    assert found.weights == tmp_path / "checkpoints/step_000010/policy"
    assert found.kind == "safetensors"
    with pytest.raises(ValueError, match="no step 15; it has 10, 20, 30"):
        locate(tmp_path, step=15)


def test_steps_of_a_nemo_run(tmp_path: Path) -> None:
    for step, accuracy in ((9, 0.5), (10, 0.7), (100, 0.7), (101, None)):
        make_nemo_step(tmp_path, step, accuracy, "weights/iter_0000000")
    (tmp_path / "tmp_step_102").mkdir()
    assert locate(tmp_path).step == 101
    assert locate(tmp_path, choice="best").step == 100
    assert locate(tmp_path).kind == "dcp"


def test_best_without_a_recorded_metric_is_an_error(tmp_path: Path) -> None:
    make_nemo_step(tmp_path, 3, None, "weights/iter_0000000")
    with pytest.raises(ValueError, match="no step records the metric val:accuracy; use --step"):
        locate(tmp_path, choice="best")


@pytest.mark.parametrize("weights", ["weights/model", "weights/model/consolidated", "weights"])
def test_places_of_the_dtensor_path(tmp_path: Path, weights: str) -> None:
    place = make_nemo_step(tmp_path, 5, 0.1, weights)
    assert locate(tmp_path / "step_5").weights == place
    assert locate(place).step == 5
    assert locate(tmp_path / "step_5" / "policy").step == 5


def test_consolidated_files_come_before_shards(tmp_path: Path) -> None:
    make_nemo_step(tmp_path, 5, 0.1, "weights/model")
    consolidated = tmp_path / "step_5/policy/weights/model/consolidated"
    consolidated.mkdir()
    save_file({"a": zeros(1)}, consolidated / "model.safetensors")
    assert locate(tmp_path).weights == consolidated


def test_a_bare_iteration_is_found_through_its_tracker(tmp_path: Path) -> None:
    for name in ("iter_0000010", "iter_0000020"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metadata.json").write_text("{}")
    assert locate(tmp_path).weights.name == "iter_0000020"
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("10\n")
    assert locate(tmp_path).weights.name == "iter_0000010"
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("30")
    with pytest.raises(ValueError, match=r"iter_0000030: missing"):
        locate(tmp_path)


def test_another_step_than_the_directory_is_an_error(tmp_path: Path) -> None:
    make_nemo_step(tmp_path, 5, 0.1, "weights")
    with pytest.raises(ValueError, match="it is step 5, not step 6"):
        locate(tmp_path / "step_5", step=6)


def test_a_step_directory_converts_with_what_its_config_names(tmp_path: Path) -> None:
    """Model and chat template from config.yaml, card from the step's own record."""
    iteration = make_megatron_checkpoint(tmp_path, "qwen2")
    (iteration / "config.json").unlink()
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    (tmp_path / "model" / "README.md").write_text("---\nlicense: apache-2.0\n---\nA model.\n")
    step = tmp_path / "run" / "step_40"
    (step / "policy").mkdir(parents=True)
    (tmp_path / "megatron").rename(step / "policy" / "weights")
    model = str(tmp_path / "model")
    config = {
        "policy": {"model_name": model, "tokenizer": {"name": model, "chat_template": None}},
        "grpo": {"num_generations_per_prompt": 16},
        "data": {"train": {"dataset_name": "deepscaler"}},
        "prorl": {"train_tasks": [{"name": "gcd", "weight": 0.25}]},
    }
    (step / "config.yaml").write_text(yaml.safe_dump(config))
    info = {"total_steps": 40, "val:accuracy": 0.25, "resets": [{"step": 20, "reason": "kl"}]}
    (step / "training_info.json").write_text(json.dumps(info))
    result = convert_checkpoint(tmp_path / "run", tmp_path / "out")
    assert (result.step, result.tokenizer) == (40, model)
    assert "message['content']" in (tmp_path / "out" / "chat_template.jinja").read_text()
    card = (tmp_path / "out" / "README.md").read_text()
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["license"] == "apache-2.0"
    for line in (
        "| step | 40 |",
        "| grpo.num_generations_per_prompt | 16 |",
        "| data.train.dataset_name | deepscaler |",
        "| gcd | 0.25 |",
        "| after step 20 | kl |",
        "| val:accuracy | 0.25 |",
    ):
        assert line in card


def test_a_damaged_local_checkpoint_is_known_by_its_manifest(tmp_path: Path) -> None:
    from prorl_nemo.atomic_directory import write_directory

    def fill(directory: Path) -> None:
        make_tiny_model("llama", directory / "policy")
        save_file({"exp_avg": zeros(1)}, directory / "policy" / "optimizer.safetensors")
        (directory / "train_state.json").write_text('{"step": 1, "best_step": 1}')

    write_directory(tmp_path / "checkpoints" / "step_000001", fill)
    campaign = {"config": {"loss_fn": {"ratio_clip_max": 0.4}}, "model": {}}
    (tmp_path / "config.json").write_text(json.dumps(campaign))
    convert_checkpoint(tmp_path, tmp_path / "whole")
    assert "| loss_fn.ratio_clip_max | 0.4 |" in (tmp_path / "whole" / "README.md").read_text()
    weights = tmp_path / "checkpoints/step_000001/policy/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors: content differs"):
        convert_checkpoint(tmp_path, tmp_path / "out")


def test_importing_loads_neither_megatron_nor_ray() -> None:
    import subprocess
    import sys

    code = (
        "import sys, prorl_nemo.conversion.convert, prorl_nemo.conversion.megatron_export\n"
        "print([m for m in ('megatron', 'ray', 'nemo_rl', 'transformers') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert printed.stdout == "[]\n", printed.stderr
