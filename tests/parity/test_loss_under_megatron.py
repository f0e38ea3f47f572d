"""ProRL's loss, and its resets, on real megatron-core under tensor and pipeline parallelism."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("megatron.core", reason="needs megatron-core")

from tests.parity.megatron_ranks import LAYOUTS, check_layouts, check_reset
from tests.support.megatron_cpu import run_megatron

pytestmark = pytest.mark.megatron


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("layouts")
    run_megatron(check_layouts, str(root), num_ranks=4)
    return root


@pytest.mark.parametrize(("tp", "pp"), LAYOUTS[1:])
def test_logprobs_loss_and_gradients_agree_with_one_rank(results: Path, tp: int, pp: int) -> None:
    expected_logprobs, expected_loss = torch.load(results / "tp1pp1.pt")
    logprobs, loss = torch.load(results / f"tp{tp}pp{pp}.pt")
    assert float((logprobs - expected_logprobs).abs().max()) < 2e-5
    assert float((loss - expected_loss).abs()) < 1e-6
    expected = torch.load(results / "grads_tp1pp1.pt")
    gradients = torch.load(results / f"grads_tp{tp}pp{pp}.pt")
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    assert largest > 1e-3
    assert expected.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert float((gradient - expected[name]).abs().max()) < 1e-5 * max(1.0, largest), name


@pytest.mark.parametrize(("tp", "pp"), [pytest.param(2, 1, marks=pytest.mark.slow), (2, 2)])
def test_a_reset_acts_on_a_real_model_and_distributed_optimizer(
    results: Path, tp: int, pp: int
) -> None:
    run_megatron(check_reset, str(results), tp, pp, num_ranks=4)
