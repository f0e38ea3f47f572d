"""Log-probs from hidden states against the same through full logits: time and peak memory.

    python benchmarks/logprobs.py                  # 4,096 tokens, 151,936 vocabulary entries
    python benchmarks/logprobs.py --hidden 1536    # Qwen2-1.5B's width

Forward and backward in float32, each repetition in a process of its own, the two ways in turn. The
peer is the way every trainer has: F.linear, then cross_entropy, which is faster than log_softmax
and gather. Extra memory is the process's peak resident size beyond the inputs and their gradients.
Exits with 1 when a goal is missed: time at most 1.5 times, extra memory at most 1/8 of the logits.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from prorl_nemo.algorithms.linear_logprobs import compute_linear_logprobs

TIME_GOAL, MEMORY_GOAL = 1.5, 1 / 8
CHUNK_SIZE = 2048


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measure", choices=["fused", "full"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size = (arguments.tokens, arguments.vocabulary, arguments.hidden)
    if arguments.measure:
        print(*measure(arguments.measure, *size))
        return
    sys.exit(0 if compare(size, arguments.repeats) else 1)


def compare(size: tuple[int, int, int], repeats: int) -> bool:
    """Print both ratios; whether both goals are met."""
    logits_bytes = 4 * size[0] * size[1]
    times, memories, full_memories, sums = [], [], [], []
    for _ in range(repeats):
        full, fused = (measure_in_process(way, size) for way in ("full", "fused"))
        times.append(fused[0] / full[0])
        memories.append(fused[1] / logits_bytes)
        full_memories.append(full[1] / logits_bytes)
        sums.append(abs(fused[2] / full[2] - 1))
        print(f"full {full[0]:.1f} s, fused {fused[0]:.1f} s", file=sys.stderr)
    print(f"T={size[0]:,} V={size[1]:,} H={size[2]}, {repeats} pairs, torch {torch.__version__}")
    print(f"time, fused / full: {spread(times)} (goal: at most {TIME_GOAL})")
    print(f"extra memory / logits, fused: {spread(memories)} (goal: at most {MEMORY_GOAL})")
    print(f"extra memory / logits, full: {spread(full_memories)}")
    print(f"largest relative difference of the sums of log-probs and gradients: {max(sums):.1e}")
    return statistics.median(times) <= TIME_GOAL and max(memories) <= MEMORY_GOAL


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def measure_in_process(way: str, size: tuple[int, int, int]) -> list[float]:
    """Seconds, extra bytes, and a sum over the results that both ways must share."""
    names = ("--tokens", "--vocabulary", "--hidden")
    options = [text for pair in zip(names, map(str, size), strict=True) for text in pair]
    command = [sys.executable, __file__, "--measure", way, *options]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(number) for number in output.split()]


def measure(way: str, tokens: int, vocabulary: int, width: int) -> tuple[float, int, float]:
    torch.manual_seed(0)
    hidden = torch.empty(tokens, width).normal_().requires_grad_()
    weight = torch.empty(vocabulary, width).normal_(std=width**-0.5).requires_grad_()
    chosen = torch.randint(0, vocabulary, (tokens,))
    incoming = torch.rand(tokens)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = resident_bytes("VmRSS")
    start = time.perf_counter()
    logprobs = evaluate(way, hidden, weight, chosen)
    gradients = torch.autograd.grad(logprobs, (hidden, weight), incoming)
    seconds = time.perf_counter() - start
    results = 4 * (hidden.numel() + weight.numel())
    extra = resident_bytes("VmHWM") - before - results
    total = sum(float(values.double().abs().sum()) for values in (logprobs.detach(), *gradients))
    return seconds, extra, total


def evaluate(way: str, hidden: Tensor, weight: Tensor, chosen: Tensor) -> Tensor:
    if way == "full":
        return -cross_entropy(linear(hidden, weight), chosen, reduction="none")
    return compute_linear_logprobs(hidden, weight, chosen, chunk_size=CHUNK_SIZE)


def resident_bytes(field: str) -> int:
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if field in line
    )
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
