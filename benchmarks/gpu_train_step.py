"""Log-probabilities, ProRL's loss and a train step of a Qwen2-1.5B-sized model: BF16 and FP8.

    python benchmarks/gpu_train_step.py                  # one GPU, 8k tokens, both precisions
    python benchmarks/gpu_train_step.py --toy            # the same logic at toy size, on a CPU

Prints one JSON object: tokens per second and peak memory of each part, side by side in one run,
and how far FP8's log-probabilities are from BF16's. FP8 is Transformer Engine's, with the linear
layers of the decoder replaced; without Transformer Engine it is left out, and said so. On a CPU
its rounding is emulated, so that the logic runs whole.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from fp8_linears import EMULATED, find_fp8, replace_linears
from torch import Tensor, nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from prorl_nemo.algorithms.logprobs import gather_next_token_logprobs
from prorl_nemo.config import LossConfig
from prorl_nemo.objective import LossInputs, Objective

LOSS = LossConfig(
    reference_policy_kl_penalty=1e-4,
    reference_policy_kl_type="k3",
    kl_input_clamp_value=20.0,
    kl_output_clamp_value=10.0,
    ratio_clip_min=0.2,
    ratio_clip_max=0.4,
    ratio_clip_c=None,
    token_level_loss=True,
    use_on_policy_kl_approximation=False,
    use_importance_sampling_correction=False,
    truncated_importance_sampling_type=None,
    truncated_importance_sampling_ratio=None,
    truncated_importance_sampling_ratio_min=None,
)


@dataclass(frozen=True)
class Size:
    """Shape of the model and of the batch."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    tokens: int
    chunk: int


QWEN2_1_5B = Size(1536, 8960, 28, 12, 2, 151936, 8192, 1024)
TOY = Size(64, 96, 2, 4, 2, 256, 128, 32)


@dataclass(frozen=True)
class Figures:
    """Median of the timed repetitions."""

    logprob_tokens_per_second: float
    train_tokens_per_second: float
    logprob_peak_bytes: int
    train_peak_bytes: int
    loss: float
    logprob_difference_to_bf16: float | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", action="store_true", help="toy size on the CPU")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    if not arguments.toy and not torch.cuda.is_available():
        parser.error("no CUDA device; --toy runs the logic on a CPU")
    print(json.dumps(measure_all(toy=arguments.toy, repeats=arguments.repeats), indent=1))


def measure_all(*, toy: bool, repeats: int) -> dict[str, Any]:
    """Both precisions on the same weights and tokens."""
    size, device = (TOY, "cpu") if toy else (QWEN2_1_5B, "cuda")
    torch.manual_seed(0)
    base = make_model(size).to(device=device, dtype=torch.bfloat16)
    tokens = torch.randint(0, size.vocabulary, (1, size.tokens), device=device)
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if not toy else "cpu",
        "torch": torch.__version__,
        "size": asdict(size),
    }
    bf16, reference = measure(copy.deepcopy(base), tokens, size, nullcontext, None, repeats)
    report["bf16"] = asdict(bf16)
    fp8 = EMULATED if toy else find_fp8()
    if fp8 is None:
        report["fp8"] = "not measured: needs transformer_engine"
        return report
    model = replace_linears(base, fp8.make_linear)
    figures, _ = measure(model, tokens, size, fp8.context, reference, repeats)
    report["fp8"] = {"recipe": fp8.recipe, **asdict(figures)}
    return report


def make_model(size: Size) -> nn.Module:
    config = Qwen2Config(
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        vocab_size=size.vocabulary,
        max_position_embeddings=2 * size.tokens,
        tie_word_embeddings=False,
    )
    return Qwen2ForCausalLM(config)


def measure(
    model: nn.Module,
    tokens: Tensor,
    size: Size,
    context: Callable[[], Any],
    reference: Tensor | None,
    repeats: int,
) -> tuple[Figures, Tensor]:
    """Time both parts; also the log-probabilities before the first update."""
    # Activations are computed again in the backward pass, in the precision of the forward pass.
    model.gradient_checkpointing_enable(
        {"use_reentrant": False, "context_fn": lambda: (nullcontext(), context())}
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=tokens.is_cuda)
    model.train()

    def logprobs() -> Tensor:
        with context():
            logits = model(input_ids=tokens, use_cache=False).logits
        return gather_next_token_logprobs(logits, tokens, chunk_size=size.chunk)

    with torch.no_grad():
        before = logprobs()

    def forward() -> None:
        with torch.no_grad():
            logprobs()

    losses: list[float] = []

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = compute_loss(logprobs(), before, size)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))

    forward_seconds, forward_peak = time_it(forward, repeats, on_cuda=tokens.is_cuda)
    step_seconds, step_peak = time_it(step, repeats, on_cuda=tokens.is_cuda)
    return Figures(
        logprob_tokens_per_second=size.tokens / forward_seconds,
        train_tokens_per_second=size.tokens / step_seconds,
        logprob_peak_bytes=forward_peak,
        train_peak_bytes=step_peak,
        loss=losses[0],
        logprob_difference_to_bf16=(
            None if reference is None else float((before - reference).abs().mean())
        ),
    ), before


def compute_loss(logprobs: Tensor, before: Tensor, size: Size) -> Tensor:
    """ProRL's loss of one response that fills the context behind a short prompt."""
    mask = torch.ones_like(before, dtype=torch.bool)
    mask[:, : size.tokens // 16] = False
    inputs = LossInputs(
        curr_logprobs=logprobs,
        prev_logprobs=before,
        generation_logprobs=before,
        reference_policy_logprobs=before,
        advantages=torch.ones_like(before),
        token_mask=mask,
        sample_mask=torch.ones(1, dtype=torch.bool, device=before.device),
        global_valid_seqs=torch.tensor(1.0, device=before.device),
        global_valid_toks=mask.sum(),
    )
    return Objective(LOSS)(inputs).loss.loss


def time_it(part: Callable[[], None], repeats: int, *, on_cuda: bool) -> tuple[float, int]:
    """Median seconds and peak bytes (0 on a CPU), after one repetition to warm up."""
    part()
    seconds = []
    with peak_memory(on_cuda) as peak:
        for _ in range(repeats):
            start = time.perf_counter()
            part()
            if on_cuda:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
    return sorted(seconds)[len(seconds) // 2], peak[0]


@contextmanager
def peak_memory(on_cuda: bool) -> Iterator[list[int]]:
    peak = [0]
    if on_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    yield peak
    if on_cuda:
        peak[0] = torch.cuda.max_memory_allocated()


if __name__ == "__main__":
    main()
