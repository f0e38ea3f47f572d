"""Output layer, log-probs, ProRL's loss and backward at Qwen2-1.5B's width: fused and full logits.

    python benchmarks/gpu_logprobs.py              # one GPU, bf16, 8,192 and 16,384 tokens
    python benchmarks/gpu_logprobs.py --toy        # the same logic at toy size, on a CPU

Prints one JSON object: tokens per second, MFU (of the H100's 989 TFLOP/s in bf16; computing logits
twice does not count twice) and peak memory of both ways side by side, and how far the log-probs
and gradients of each are from float64's. The output layer stays in bf16 in an FP8 run as well; the
layers that FP8 changes are in gpu_train_step.py.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from prorl_nemo.algorithms.kl import estimate_k3
from prorl_nemo.algorithms.linear_logprobs import compute_linear_logprobs
from prorl_nemo.algorithms.logprobs import gather_logprobs
from prorl_nemo.algorithms.losses import prorl_loss, weigh_tokens_equally

PEAK_FLOPS = 989e12  # dense bf16, H100 SXM
CHECKED_TOKENS = 64

ComputeLogprobs = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Size:
    tokens: int
    hidden: int = 1536
    vocabulary: int = 151_936
    chunk: int = 8192  # vocabulary entries (fused) or positions (full) at a time


@dataclass(frozen=True)
class Figures:
    """Median of the repetitions, forward and backward."""

    tokens_per_second: float
    mfu: float | None
    peak_bytes: int
    logprob_error: float  # largest, against float64 on the same bf16 numbers
    gradient_error: float  # of the hidden states, relative norm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", action="store_true", help="toy size on the CPU")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    if not arguments.toy and not torch.cuda.is_available():
        parser.error("no CUDA device; --toy runs the logic on a CPU")
    sizes = [Size(128, 32, 512, 64)] if arguments.toy else [Size(8192), Size(16_384)]
    report = {str(size.tokens): measure_size(size, arguments.repeats) for size in sizes}
    device = "cpu" if arguments.toy else torch.cuda.get_device_name()
    print(json.dumps({"device": device, "torch": torch.__version__, **report}, indent=1))


def measure_size(size: Size, repeats: int) -> dict[str, Any]:
    def fused(hidden: Tensor, weight: Tensor, tokens: Tensor) -> Tensor:
        return compute_linear_logprobs(hidden, weight, tokens, chunk_size=size.chunk)

    def full(hidden: Tensor, weight: Tensor, tokens: Tensor) -> Tensor:
        return gather_logprobs(linear(hidden, weight), tokens, chunk_size=size.chunk)

    ways = {"fused": fused, "full": full}
    return {name: asdict(measure(compute, size, repeats)) for name, compute in ways.items()}


def measure(compute: ComputeLogprobs, size: Size, repeats: int) -> Figures:
    on_cuda = torch.cuda.is_available()
    device = "cuda" if on_cuda else "cpu"
    torch.manual_seed(0)
    hidden = torch.randn(1, size.tokens, size.hidden, device=device).bfloat16()
    weight = torch.randn(size.vocabulary, size.hidden, device=device).bfloat16()
    weight = (weight * size.hidden**-0.5).requires_grad_()
    tokens = torch.randint(0, size.vocabulary, (1, size.tokens), device=device)
    hidden.requires_grad_()
    errors = check(compute, hidden[:, :CHECKED_TOKENS], weight, tokens[:, :CHECKED_TOKENS])
    seconds = []
    for _ in range(repeats + 1):
        if on_cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        loss = compute_loss(compute(hidden, weight, tokens))
        torch.autograd.grad(loss, (hidden, weight))
        if on_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    median = sorted(seconds[1:])[repeats // 2]  # the first one warms up
    flops = 6 * size.tokens * size.hidden * size.vocabulary
    return Figures(
        tokens_per_second=size.tokens / median,
        mfu=flops / median / PEAK_FLOPS if on_cuda else None,
        peak_bytes=torch.cuda.max_memory_allocated() if on_cuda else 0,
        logprob_error=errors[0],
        gradient_error=errors[1],
    )


def compute_loss(logprobs: Tensor) -> Tensor:
    before = logprobs.detach()
    return prorl_loss(
        curr_logprobs=logprobs,
        prev_logprobs=before,
        reference_policy_logprobs=before,
        advantages=torch.ones_like(before),
        token_mask=torch.ones_like(before, dtype=torch.bool),
        sample_mask=torch.ones_like(before[:, 0], dtype=torch.bool),
        importance_weights=None,
        ratio_clip_min=0.2,
        ratio_clip_max=0.4,
        ratio_clip_c=None,
        kl_penalty=1e-4,
        kl_estimator=estimate_k3,
        kl_sampling_logprobs=before,
        weigh=weigh_tokens_equally,
        global_count=before.numel(),
    ).loss


def check(
    compute: ComputeLogprobs, hidden: Tensor, weight: Tensor, tokens: Tensor
) -> tuple[float, float]:
    """Largest error of the log-probs, relative error of the gradient, against float64."""
    logprobs = compute(hidden, weight, tokens)
    (grad,) = torch.autograd.grad(logprobs.sum(), hidden)
    exact_hidden = hidden.detach().double().requires_grad_()
    full = linear(exact_hidden, weight.detach().double()).log_softmax(-1)
    exact = full.gather(-1, tokens[..., None]).squeeze(-1)
    (exact_grad,) = torch.autograd.grad(exact.sum(), exact_hidden)
    logprob_error = float((logprobs - exact).abs().max())
    return logprob_error, float((grad - exact_grad).norm() / exact_grad.norm())


if __name__ == "__main__":
    main()
