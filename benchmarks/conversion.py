"""Conversion against a plain copy of the same bytes, and its peak memory.

    python benchmarks/conversion.py [--gigabytes 2] [--repeats 5] [--directory DIR]

A synthetic bf16 Llama is written as a Megatron torch_dist checkpoint. Copy and conversion
alternate in one run; both end with their files flushed to disk. Between them the same bytes
are only read and digested, by one thread: what the checks cost when nothing else runs. Peak
memory is that of a fresh process which only converts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
import zlib
from pathlib import Path

import torch
from safetensors.torch import save_file

from prorl_nemo.conversion.block_reader import WINDOW_BYTES
from prorl_nemo.conversion.convert import convert_checkpoint
from prorl_nemo.conversion.megatron_export import ITERATION, export_to_megatron

HIDDEN, INTERMEDIATE, HEADS, GROUPS, VOCABULARY = 2048, 8192, 16, 4, 128256
LAYER_BYTES = 2 * (HIDDEN * HIDDEN * 5 // 2 + 3 * HIDDEN * INTERMEDIATE)
EMBEDDING_BYTES = 2 * VOCABULARY * HIDDEN


def write_model(directory: Path, num_bytes: float) -> None:
    """A Hugging Face Llama of about ``num_bytes`` with random weights, a shard per layer."""
    num_layers = max(1, round((num_bytes - 2 * EMBEDDING_BYTES) / LAYER_BYTES))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_attention_heads": HEADS,
        "num_key_value_heads": GROUPS,
        "num_hidden_layers": num_layers,
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": False,
    }
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(config))
    key_value = HIDDEN // HEADS * GROUPS
    outer = {
        "model.embed_tokens.weight": (VOCABULARY, HIDDEN),
        "lm_head.weight": (VOCABULARY, HIDDEN),
        "model.norm.weight": (HIDDEN,),
    }
    layer = {
        "input_layernorm": (HIDDEN,),
        "post_attention_layernorm": (HIDDEN,),
        "self_attn.q_proj": (HIDDEN, HIDDEN),
        "self_attn.k_proj": (key_value, HIDDEN),
        "self_attn.v_proj": (key_value, HIDDEN),
        "self_attn.o_proj": (HIDDEN, HIDDEN),
        "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
        "mlp.up_proj": (INTERMEDIATE, HIDDEN),
        "mlp.down_proj": (HIDDEN, INTERMEDIATE),
    }
    shards = [outer] + [
        {f"model.layers.{n}.{name}.weight": size for name, size in layer.items()}
        for n in range(num_layers)
    ]
    for number, shard in enumerate(shards):
        tensors = {name: torch.randn(size, dtype=torch.bfloat16) for name, size in shard.items()}
        save_file(tensors, directory / f"model-{number:05d}.safetensors")


def copy_and_flush(source: Path, target: Path) -> float:
    start = time.perf_counter()
    shutil.copytree(source, target)
    for path in target.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    return time.perf_counter() - start


def digest(source: Path) -> float:
    """Seconds to read the files and compute both checksums that a conversion computes."""
    start = time.perf_counter()
    sha256, crc32 = hashlib.sha256(), 0
    buffer = memoryview(bytearray(WINDOW_BYTES))
    for path in source.iterdir():
        with path.open("rb", buffering=0) as file:
            while num_read := file.readinto(buffer):
                sha256.update(buffer[:num_read])
                crc32 = zlib.crc32(buffer[:num_read], crc32)
    return time.perf_counter() - start


def convert(source: Path, model: Path, target: Path) -> float:
    (source / "config.json").write_bytes((model / "config.json").read_bytes())
    start = time.perf_counter()
    convert_checkpoint(source, target)
    return time.perf_counter() - start


def read_peak_bytes() -> int:
    """Peak resident bytes of this process since it began (Linux's VmHWM)."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _measure_peak(source: Path, model: Path, target: Path, results: multiprocessing.Queue) -> None:
    import transformers.models.llama.modeling_llama  # noqa: F401  # counted as baseline

    baseline = read_peak_bytes()
    convert(source, model, target)
    results.put((baseline, read_peak_bytes()))


def measure_peak_bytes(source: Path, model: Path, target: Path) -> tuple[int, int]:
    """Peak resident bytes of a fresh process: after its imports, and after converting."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_measure_peak, args=(source, model, target, results))
    process.start()
    baseline, peak = results.get()
    process.join()
    return baseline, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--directory", type=Path, default=None, help="where to write; default: tmp")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.directory) as name:
        root = Path(name)
        write_model(root / "model", args.gigabytes * 1e9)
        num_bytes = export_to_megatron(root / "model", root / "megatron")
        source = root / "megatron" / ITERATION
        convert(source, root / "model", root / "warm-up")  # imports
        shutil.rmtree(root / "warm-up")
        times: dict[str, list[float]] = {"copy": [], "digest": [], "convert": []}
        for _ in range(args.repeats):
            times["copy"].append(copy_and_flush(source, root / "copied"))
            shutil.rmtree(root / "copied")
            times["digest"].append(digest(source))
            times["convert"].append(convert(source, root / "model", root / "converted"))
            shutil.rmtree(root / "converted")
        baseline, peak = measure_peak_bytes(source, root / "model", root / "converted")
    report(num_bytes, times, baseline=baseline, peak=peak)


def report(num_bytes: int, times: dict[str, list[float]], *, baseline: int, peak: int) -> None:
    rates = {what: num_bytes / 1e6 / statistics.median(runs) for what, runs in times.items()}
    limit = 1.5 * EMBEDDING_BYTES + 600e6
    print(f"checkpoint {num_bytes / 1e9:.2f} GB, largest tensor {EMBEDDING_BYTES / 1e6:.0f} MB")
    for what, runs in times.items():
        listed = ", ".join(f"{run:.2f}" for run in runs)
        print(f"{what:8} {rates[what]:7.0f} MB/s (seconds: {listed})")
    pairs = zip(times["copy"], times["convert"], strict=True)
    ratios = sorted(copied / converted for copied, converted in pairs)
    print(
        f"ratio    {statistics.median(ratios):.2f} of a plain copy "
        f"(pairs: {ratios[0]:.2f} to {ratios[-1]:.2f})"
    )
    print(f"peak     {peak / 1e6:.0f} MB, of which {baseline / 1e6:.0f} MB after imports")
    print(f"limit    {limit / 1e6:.0f} MB = 1.5 x largest tensor + 600 MB")


if __name__ == "__main__":
    main()
