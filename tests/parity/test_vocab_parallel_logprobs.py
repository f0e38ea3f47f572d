"""Log-probs without logits, the weight split over two processes, against one process."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.parity.vocab_parallel_ranks import BOUNDS, evaluate, run_rank
from tests.support.ranks import start_ranks


def test_two_gloo_ranks_give_the_values_and_gradients_of_one(tmp_path: Path) -> None:
    start_ranks(run_rank, str(tmp_path), num_ranks=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    whole = evaluate(slice(0, BOUNDS[-1]))

    def assert_equal(actual: torch.Tensor, name: str) -> None:
        torch.testing.assert_close(actual, whole[name], rtol=1e-12, atol=1e-14)

    for name in ("logprobs", "entropy", "hidden"):
        for rank in ranks:
            assert_equal(rank[name], name)
    for name in ("weight", "bias"):
        assert_equal(torch.cat([rank[name] for rank in ranks]), name)
