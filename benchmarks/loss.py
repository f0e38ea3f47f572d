"""ProRL's loss against NeMo-RL's ClippedPGLossFn on the same tensors: time, value, gradient.

    PYTHONPATH=/path/to/nemo-rl-v0.7.0 python benchmarks/loss.py

Each as its own ``grpo_train`` calls it, metrics included, forward and backward in float32, in turn,
for two shapes of 131,072 tokens. Exits with 1 when values differ or the goal is missed: at least
3 times as fast. ``--profile`` prints where our time goes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

import torch
from nemo_rl.algorithms.loss.loss_functions import ClippedPGLossConfig, ClippedPGLossFn
from nemo_rl.distributed.batched_data_dict import BatchedDataDict
from torch import Tensor

from prorl_nemo.engines.nemo.loss_fn import make_loss_fn

GOAL = 3.0
SHAPES = ((64, 2048), (16, 8192))
SETTINGS: dict[str, Any] = {
    "ratio_clip_min": 0.2,
    "ratio_clip_max": 0.4,
    "ratio_clip_c": None,
    "reference_policy_kl_penalty": 1e-4,
    "reference_policy_kl_type": "k3",
    "kl_input_clamp_value": 20.0,
    "kl_output_clamp_value": 10.0,
    "token_level_loss": True,
    "use_on_policy_kl_approximation": False,
    "use_importance_sampling_correction": True,
    "truncated_importance_sampling_type": "tis",
    "truncated_importance_sampling_ratio": 2.0,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    met = [compare(*shape, repeats=arguments.repeats) for shape in SHAPES]
    if arguments.profile:
        print_profile(*SHAPES[0])
    sys.exit(0 if all(met) else 1)


def compare(rows: int, length: int, *, repeats: int) -> bool:
    """Print the ratio of one shape; whether it is reached at equal values."""
    curr, batch = make_batch(rows, length)
    ours, theirs = make_loss_fn(SETTINGS), ClippedPGLossFn(ClippedPGLossConfig(**SETTINGS))
    _, our_loss, our_grad = run(ours, curr, batch)
    _, their_loss, their_grad = run(theirs, curr, batch)
    # float32 sums of 131,072 terms in another order
    torch.testing.assert_close(our_loss, their_loss, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(our_grad, their_grad, rtol=1e-4, atol=1e-10)
    pairs = [(run(theirs, curr, batch)[0], run(ours, curr, batch)[0]) for _ in range(repeats)]
    ratios = [their / our for their, our in pairs]
    their_ms, our_ms = (1e3 * statistics.median(side) for side in zip(*pairs, strict=True))
    print(
        f"{rows} x {length}: NeMo-RL / ours {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}; {their_ms:.1f} ms, {our_ms:.1f} ms; "
        f"{repeats} pairs; goal: at least {GOAL})"
    )
    return statistics.median(ratios) >= GOAL


def run(loss_fn: Any, curr: Tensor, batch: Any) -> tuple[float, Tensor, Tensor]:
    """Seconds, loss and gradient."""
    counts = batch["sample_mask"].sum(), batch["token_mask"][:, 1:].sum()
    curr.grad = None
    start = time.perf_counter()
    loss, _ = loss_fn(curr, batch, *counts)
    loss.backward()
    seconds = time.perf_counter() - start
    assert curr.grad is not None
    return seconds, loss.detach(), curr.grad


def make_batch(rows: int, length: int) -> tuple[Tensor, Any]:
    """Responses of all lengths behind short prompts; log-probabilities a few per cent apart."""
    torch.manual_seed(0)
    shape = (rows, length)
    prev = -3 * torch.rand(shape)
    ends = torch.randint(length // 4, length, (rows, 1))
    starts = torch.randint(8, length // 8, (rows, 1))
    positions = torch.arange(length)
    batch = {
        "input_ids": torch.zeros(shape, dtype=torch.int64),
        "advantages": torch.randn(rows, 1).expand(shape).contiguous(),
        "prev_logprobs": prev,
        "generation_logprobs": prev + 0.05 * torch.randn(shape),
        "reference_policy_logprobs": prev + 0.2 * torch.randn(shape),
        "token_mask": ((positions >= starts) & (positions < ends)).float(),
        "sample_mask": torch.ones(rows),
    }
    curr = (prev + 0.2 * torch.randn(shape))[:, 1:].contiguous().requires_grad_()
    return curr, BatchedDataDict(batch)


def print_profile(rows: int, length: int) -> None:
    curr, batch = make_batch(rows, length)
    loss_fn = make_loss_fn(SETTINGS)
    run(loss_fn, curr, batch)
    with torch.profiler.profile() as profile:
        run(loss_fn, curr, batch)
    averages = profile.key_averages()
    print(averages.table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=30))


if __name__ == "__main__":
    main()
