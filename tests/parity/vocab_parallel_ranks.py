"""A rank of the vocab-parallel test: its rows of the weight, reductions over gloo."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from prorl_nemo.algorithms.linear_logprobs import (
    WHOLE_VOCABULARY,
    VocabShard,
    compute_linear_logprobs,
    compute_linear_logprobs_and_entropy,
)

BOUNDS = (0, 14, 23)  # rows of rank 0 and of rank 1, not the same number
SETTINGS = {"chunk_size": 5, "temperature": 1.2}


def make_layer() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    return {
        "hidden": normal(3, 7, 6),
        "weight": normal(BOUNDS[-1], 6),
        "bias": normal(BOUNDS[-1]),
        "tokens": torch.randint(0, BOUNDS[-1], (3, 7), generator=generator),
        "mask": torch.rand(3, 7, generator=generator) > 0.3,
        "incoming": normal(3, 7),
    }


def evaluate(rows: slice, shard: VocabShard = WHOLE_VOCABULARY) -> dict[str, Tensor]:
    """Values, entropy and gradients with these rows of the weight."""
    layer = make_layer()
    leaves = [layer["hidden"], layer["weight"][rows].clone(), layer["bias"][rows].clone()]
    hidden, weight, bias = (leaf.requires_grad_() for leaf in leaves)
    arguments = {"bias": bias, "mask": layer["mask"], "shard": shard, **SETTINGS}
    logprobs = compute_linear_logprobs(hidden, weight, layer["tokens"], **arguments)
    grads = torch.autograd.grad(logprobs, [hidden, weight, bias], layer["incoming"])
    entropy = compute_linear_logprobs_and_entropy(hidden, weight, layer["tokens"], **arguments)[1]
    values = (logprobs.detach(), entropy, *grads)
    return dict(zip(("logprobs", "entropy", "hidden", "weight", "bias"), values, strict=True))


def all_reduce(operation: dist.ReduceOp.RedOpType) -> object:
    def reduce(values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total, op=operation)
        return total

    return reduce


def run_rank(rank: int, directory: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{directory}/store", rank=rank, world_size=2
    )
    shard = VocabShard(BOUNDS[rank], all_reduce(dist.ReduceOp.SUM), all_reduce(dist.ReduceOp.MAX))
    torch.save(evaluate(slice(BOUNDS[rank], BOUNDS[rank + 1]), shard), f"{directory}/{rank}.pt")
    dist.destroy_process_group()
