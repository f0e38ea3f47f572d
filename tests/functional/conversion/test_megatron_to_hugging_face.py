"""Checkpoints of the real megatron-core, under every layout, against the models they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("megatron.core")
from transformers import AutoModelForCausalLM

from prorl_nemo.conversion.convert import ConversionOptions, convert_checkpoint
from tests.functional.conversion.megatron_checkpoints import (
    FAMILIES,
    LAYOUTS,
    PROMPT,
    make_checkpoints,
)

pytestmark = pytest.mark.megatron


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("megatron")
    return root, make_checkpoints(root, FAMILIES)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_bit_identical_and_logits_equal(
    checkpoints: tuple[Path, dict[str, Any]], tmp_path: Path, family: str, layout: tuple[int, int]
) -> None:
    root, models = checkpoints
    step_directory = root / family / "tp{}pp{}".format(*layout)
    result = convert_checkpoint(
        step_directory, tmp_path / "out", options=ConversionOptions(should_verify=True)
    )
    converted = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    expected = models[family].state_dict()
    assert converted.state_dict().keys() == expected.keys()
    for name, value in converted.state_dict().items():
        assert value.dtype == expected[name].dtype
        assert torch.equal(value, expected[name]), name
    megatron_logits = torch.load(step_directory / "logits.pt")[..., : FAMILIES[family].vocab_size]
    with torch.no_grad():
        difference = (converted(PROMPT).logits - megatron_logits).abs().max()
    print(f"{family} {layout}: logits differ by {difference:.2e}")
    assert difference < 1e-5
    assert result.comparison is not None
    assert result.comparison.max_difference < 1e-5
    assert result.layout == "Megatron torch_dist"
