"""The reference has no model of its own, and gives the bits that one would give."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from prorl_nemo.engines.local.model import load_policy
from prorl_nemo.engines.local.reference import ReferenceWeights
from tests.support.tiny_policy import engine_config, write_tiny_policy

IDS = torch.arange(12).reshape(2, 6) + 5


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("models")
    return [write_tiny_policy(root / f"model{seed}", seed=seed) for seed in (0, 1)]


def policy(path: Path) -> nn.Module:
    return load_policy(engine_config(path, "policy.device=cpu").policy)


def logits(model: nn.Module) -> Tensor:
    return model(input_ids=IDS, use_cache=False).logits.detach()


def file_of(weight: Tensor) -> str | None:
    """The file that the memory of ``weight`` is mapped from, as Linux says."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, *_, name = line.split(maxsplit=5)
        start, end = (int(part, 16) for part in span.split("-"))
        if start <= weight.data_ptr() < end:
            return name.strip() if name.startswith("/") else None
    return None


def test_it_computes_what_a_model_of_its_own_would_and_steps_back(paths: list[Path]) -> None:
    model, other = policy(paths[0]), policy(paths[1])
    before, storages = logits(model), [p.data_ptr() for p in model.parameters()]
    with ReferenceWeights.pinned(paths[1]).in_place_of(model):
        assert torch.equal(logits(model), logits(other))
    assert not torch.equal(logits(other), before)
    assert torch.equal(logits(model), before)
    assert [p.data_ptr() for p in model.parameters()] == storages


def test_the_policy_is_back_after_an_error(paths: list[Path]) -> None:
    model = policy(paths[0])
    before = logits(model)
    with pytest.raises(KeyError), ReferenceWeights.pinned(paths[1]).in_place_of(model):
        raise KeyError
    assert torch.equal(logits(model), before)


def test_no_gradient_reaches_it(paths: list[Path]) -> None:
    model = policy(paths[0])
    with ReferenceWeights.pinned(paths[1]).in_place_of(model):
        assert not model(input_ids=IDS, use_cache=False).logits.requires_grad
    assert model(input_ids=IDS, use_cache=False).logits.requires_grad


def test_its_weights_are_pages_of_the_file_which_may_go(paths: list[Path], tmp_path: Path) -> None:
    shutil.copytree(paths[1], tmp_path / "pin")
    reference = ReferenceWeights.pinned(tmp_path / "pin")
    names = {file_of(weight) for weight in reference._weights.values()}
    assert names == {str(tmp_path / "pin" / "model.safetensors")}
    shutil.rmtree(tmp_path / "pin")
    model = policy(paths[0])
    with reference.in_place_of(model):
        assert torch.equal(logits(model), logits(policy(paths[1])))


def test_the_base_model_is_mapped_and_does_not_follow_the_policy(paths: list[Path]) -> None:
    model = policy(paths[0])
    reference = ReferenceWeights.of_base(model, str(paths[0]))
    assert all(file_of(weight) is not None for weight in reference._weights.values())
    assert reference.are_those_of(model)
    before = logits(model)
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    assert not reference.are_those_of(model)
    with reference.in_place_of(model):
        assert torch.equal(logits(model), before)


def test_a_base_model_that_is_stored_otherwise_is_copied(paths: list[Path], tmp_path: Path) -> None:
    narrow = AutoModelForCausalLM.from_pretrained(paths[0], dtype=torch.bfloat16)
    narrow.save_pretrained(tmp_path)
    model = policy(tmp_path)
    reference = ReferenceWeights.of_base(model, str(tmp_path))
    assert all(file_of(weight) is None for weight in reference._weights.values())
    before = logits(model)
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    with reference.in_place_of(model):
        assert torch.equal(logits(model), before)
