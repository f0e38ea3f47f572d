"""What the reference policy costs: memory held, memory at the peak, and the time of a reset.

    python -m benchmarks.reference_memory            # the local engine
    python -m benchmarks.reference_memory --megatron # and a GPTModel of megatron-core

The peer keeps a second model's weights, as the engines of most libraries do. Memory is the
process's anonymous memory (RssAnon of Linux): pages of a mapped file belong to the system, which
may drop them. A reset is the pin, hashed and synced, and what loads it; it is compared with
log-probs and updates of one training step, without the rollout. Exits non-zero when the reference
holds more than a hundredth of its size, or a reset takes longer than a training step.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from prorl_nemo.batching import make_train_batch
from prorl_nemo.checkpointing import CheckpointStore
from prorl_nemo.engines.local.engine import LocalEngine
from prorl_nemo.engines.local.model import WEIGHTS_FILE, TextCodec, save_weights
from prorl_nemo.engines.local.reference import ReferenceWeights
from prorl_nemo.engines.local.tiny_tokenizer import make_character_tokenizer
from tests.support.megatron_cpu import MegatronShape, make_gpt_model, parallel_layout, run_megatron
from tests.support.tiny_policy import EvenScorer, engine_config, make_prompts

NUM_PAIRS = 5
MAX_HELD, MAX_RESET = 0.01, 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megatron", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        is_good = measure_local(Path(scratch))
        if arguments.megatron:
            run_megatron(measure_megatron, scratch, num_ranks=1)
            is_good &= (Path(scratch) / "good").exists()
    print("goals reached" if is_good else "a goal is MISSED")
    return int(not is_good)


def measure_local(scratch: Path) -> bool:
    """A Qwen2 model of 34 million parameters, 16 responses of up to 32 tokens, two updates."""
    engine = LocalEngine(
        engine_config(
            write_model(scratch / "model"),
            "grpo.num_generations_per_prompt=8",
            "policy.generation.max_new_tokens=32",
            "policy.max_total_sequence_length=64",
        ),
        EvenScorer(),
    )
    prompts = make_prompts("one prompt", "another one")
    rollouts = engine.rollout(prompts, step=0)
    store = CheckpointStore(scratch / "run", 2, frozenset())
    steps = iter(range(1, 1000))

    def train_step() -> None:
        engine.train(engine.compute_logprobs(make_train_batch(rollouts, engine._config, step=1)))

    def reset() -> None:
        event = store.pin(engine, step=next(steps), reason="manual")
        engine.reset_reference(store.pin_path(event), reset_optimizer=False)

    return measure(
        "local engine",
        engine._policy,
        train_step=train_step,
        reset=reset,
        load=lambda: ReferenceWeights.pinned(scratch / "model"),
    )


def write_model(directory: Path) -> Path:
    tokenizer = make_character_tokenizer([])
    torch.manual_seed(0)
    shape = Qwen2Config(
        vocab_size=16384,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    directory.mkdir()
    model = Qwen2ForCausalLM(shape)
    save_weights(model, TextCodec(tokenizer, (int(tokenizer.eos_token_id),)), directory)
    return directory


def measure_megatron(rank: int, scratch: str) -> None:
    """megatron-core's GPTModel of the same size, 8 rows; the pin is its one shard's weights."""
    shape = MegatronShape(
        num_layers=8,
        hidden_size=512,
        ffn_hidden_size=1408,
        num_attention_heads=8,
        num_query_groups=4,
        head_dim=64,
        vocab_size=16384,
        padded_vocab_size=16384,
        tied=True,
    )
    directory = Path(scratch) / "megatron"
    directory.mkdir()
    input_ids = torch.randint(0, 16384, (8, 40), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(1, 1, 40, 40, dtype=torch.bool).triu(1)
    with parallel_layout(tp=1, pp=1):
        model = make_gpt_model(shape)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        references: list[ReferenceWeights] = []

        def logits(rows: slice = slice(None)) -> torch.Tensor:
            ids = input_ids[rows]
            output: torch.Tensor = model(ids, torch.arange(40).expand(len(ids), 40), mask)
            return output

        def train_step() -> None:
            with torch.no_grad():
                before = logits()
            with references[-1].in_place_of(model):
                reference = logits()
            for rows in (slice(0, 4), slice(4, 8)):
                loss = (logits(rows) - before[rows] + reference[rows]).logsumexp(-1).mean()
                loss.backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)

        def reset() -> None:
            path = directory / WEIGHTS_FILE
            path.unlink(missing_ok=True)  # the mapped one lives on until it is let go
            save_file({n: p.detach() for n, p in model.named_parameters()}, path)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            references[:] = [ReferenceWeights.pinned(directory)]

        reset()
        is_good = measure(
            "megatron-core",
            model,
            train_step=train_step,
            reset=reset,
            load=lambda: ReferenceWeights.pinned(directory),
        )
        reset()
        with torch.no_grad():
            pinned = logits()
        train_step()
        with references[-1].in_place_of(model):
            is_good &= torch.equal(logits(), pinned)
        print(f"megatron-core: the reference behind an update gives the pinned bits: {is_good}")
    if is_good:
        (Path(scratch) / "good").touch()


def measure(
    name: str,
    model: nn.Module,
    *,
    train_step: Callable[[], None],
    reset: Callable[[], None],
    load: Callable[[], ReferenceWeights],
) -> bool:
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    train_step()  # the optimizer's moments are there from now on
    held, peaks, resets = [], [], []
    for _ in range(NUM_PAIRS):
        held.append(growth(load) / size)
        seconds, ours = watch(train_step)
        second_model = [p.detach().clone() for p in model.parameters()]
        _, theirs = watch(train_step)
        del second_model
        peaks.append((theirs - ours) / size)
        resets.append(watch(reset)[0] / seconds)
    print(f"{name}: weights {size / 2**20:.0f} MiB, {NUM_PAIRS} pairs, medians [least, most]")
    print(f"  memory held by the reference, of its size: {spread(held)} (a second model: 1)")
    print(f"  peak of a step below that with a second model, of its size: {spread(peaks)}")
    print(f"  time of a reset, of a training step: {spread(resets)}")
    return statistics.median(held) <= MAX_HELD and statistics.median(resets) < MAX_RESET


def growth(load: Callable[[], object]) -> float:
    gc.collect()
    before = anonymous_bytes()
    loaded = load()
    grown = anonymous_bytes() - before
    del loaded
    return max(0.0, grown)


def watch(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds, and the peak of the process's anonymous memory in bytes."""
    peak, is_over = anonymous_bytes(), threading.Event()

    def sample() -> None:
        nonlocal peak
        while not is_over.wait(0.002):
            peak = max(peak, anonymous_bytes())

    thread = threading.Thread(target=sample)
    thread.start()
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    is_over.set()
    thread.join()
    return seconds, peak


def anonymous_bytes() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return float(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no RssAnon: this benchmark needs Linux")


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} [{min(values):.3f}, {max(values):.3f}]"


if __name__ == "__main__":
    sys.exit(main())
