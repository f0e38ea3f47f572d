"""Converts a checkpoint to a Hugging Face directory: the whole sequence, top to bottom.

Nothing is written unless every tensor of the model is accounted for, and nothing appears at
the output path unless it is whole. It needs neither a GPU nor Megatron, and holds one block
of the checkpoint in memory at a time.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from prorl_nemo.atomic_directory import MANIFEST, verify_directory
from prorl_nemo.conversion.block_reader import BlockReader
from prorl_nemo.conversion.checkpoint_plan import (
    check_tied_copies,
    describe_layout,
    make_plan,
    read_index,
)
from prorl_nemo.conversion.export_plan import ExportedBlock, ExportPlan
from prorl_nemo.conversion.locate import CheckpointSource, Choice, locate_checkpoint, read_json
from prorl_nemo.conversion.model_card import write_model_card
from prorl_nemo.conversion.model_config import ModelConfig, find_model_config
from prorl_nemo.conversion.output_directory import write_new_directory
from prorl_nemo.conversion.safetensors_writer import (
    WrittenShards,
    split_into_shards,
    write_shards,
)
from prorl_nemo.conversion.stored_tensor import TensorIndex, check_index
from prorl_nemo.conversion.tokenizer_files import copy_tokenizer
from prorl_nemo.conversion.verify import LogitComparison, compare_logits

RECORD_FILE = "conversion.json"
SPARE_BYTES = 64 << 20

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ConversionOptions:
    """What a user may override.

    ``model_config`` and ``tokenizer`` are Hugging Face directories used instead of what the
    checkpoint names; ``license_name`` is Hugging Face's identifier for the model card.
    """

    model_config: Path | None = None
    tokenizer: Path | None = None
    license_name: str | None = None
    max_shard_bytes: int = 5_000_000_000
    should_verify: bool = False
    should_check_checksums: bool = True


@dataclass(frozen=True)
class ConversionResult:
    """What was converted.

    ``num_bytes`` counts tensor data; ``ignored`` counts what was left behind by reason;
    ``comparison`` is None unless verification was asked for.
    """

    output: Path
    weights: Path
    layout: str
    step: int | None
    num_tensors: int
    num_bytes: int
    ignored: Mapping[str, int]
    tokenizer: str | None
    comparison: LogitComparison | None
    manifest_sha256: str


@dataclass(frozen=True)
class _Job:
    source: CheckpointSource
    config: ModelConfig
    index: TensorIndex
    plan: ExportPlan
    options: ConversionOptions


def convert_checkpoint(
    checkpoint: Path,
    output: Path,
    *,
    step: int | None = None,
    choice: Choice = "latest",
    options: ConversionOptions = ConversionOptions(),  # frozen
    on_progress: Progress | None = None,
) -> ConversionResult:
    """Converts ``checkpoint`` to a new Hugging Face directory ``output``.

    ``on_progress(done, total)`` counts bytes of tensor data. Raises ValueError with one line
    naming the cause (a damaged, incomplete, foreign or newer checkpoint, an existing output,
    a full disk, logits that differ); ``output`` then doesn't exist.
    """
    if os.path.lexists(output):
        raise ValueError(f"{output}: exists already; choose another directory or remove it")
    job = _prepare(locate_checkpoint(checkpoint, step=step, choice=choice), options)
    _check_space(job.plan, output)
    filled: _Filled | None = None

    def fill(directory: Path) -> Mapping[str, str]:
        nonlocal filled
        filled = _fill(job, directory, on_progress)
        return filled.shards.hashes

    digest = write_new_directory(output, fill)
    assert filled is not None
    return ConversionResult(
        output=output,
        weights=job.source.weights,
        layout=describe_layout(job.index, job.source),
        step=job.source.step,
        num_tensors=len(filled.shards.tensors),
        num_bytes=job.plan.num_bytes,
        ignored=dict(Counter(job.plan.ignored.values())),
        tokenizer=filled.tokenizer,
        comparison=filled.comparison,
        manifest_sha256=digest,
    )


def _prepare(source: CheckpointSource, options: ConversionOptions) -> _Job:
    """Everything that can be known to be wrong before a byte is written."""
    _check_manifests(source)
    config = find_model_config(source, options.model_config)
    index = read_index(source)
    check_index(index)
    plan = make_plan(index, config, where=source.weights)
    check_tied_copies(plan)
    return _Job(source, config, index, plan, options)


def _check_manifests(source: CheckpointSource) -> None:
    """The hashes that the local engine and this converter leave beside what they write."""
    for directory in (source.step_directory, source.weights):
        manifest = directory / MANIFEST if directory is not None else None
        if manifest is not None and manifest.is_file() and "files" in read_json(manifest):
            verify_directory(manifest.parent)


@dataclass(frozen=True)
class _Filled:
    shards: WrittenShards
    tokenizer: str | None
    comparison: LogitComparison | None


def _fill(job: _Job, directory: Path, on_progress: Progress | None) -> _Filled:
    options, total, done = job.options, job.plan.num_bytes, 0

    def count_bytes(num_bytes: int) -> None:
        nonlocal done
        done += num_bytes
        if on_progress is not None:
            on_progress(done, total)

    reader = BlockReader(should_check=options.should_check_checksums)

    def read(block: ExportedBlock) -> torch.Tensor:
        return reader.read(block.source, block.layer)

    planned = split_into_shards(job.plan, options.max_shard_bytes)
    shards = write_shards(planned, directory, read, count_bytes)
    _write_config(job.config, job.plan, directory)
    tokenizer = copy_tokenizer(job.source, job.config, directory, options.tokenizer)
    comparison = None
    if options.should_verify:
        comparison = compare_logits(job.index, job.config, directory, where=job.source.weights)
    _write_record(job, shards, directory)
    write_model_card(job.source, job.config, directory, license_name=options.license_name)
    return _Filled(shards, tokenizer, comparison)


def _check_space(plan: ExportPlan, output: Path) -> None:
    existing = next(p for p in (output.parent, *output.absolute().parents) if p.is_dir())
    free = shutil.disk_usage(existing).free
    if free < plan.num_bytes + SPARE_BYTES:
        raise ValueError(
            f"{existing}: not enough space: {plan.num_bytes / 1e9:.1f} GB needed, "
            f"{free / 1e9:.1f} GB free"
        )


def _write_config(config: ModelConfig, plan: ExportPlan, directory: Path) -> None:
    """``config.json`` as it was found, with the dtype that most of the weights have."""
    sizes: Counter[torch.dtype] = Counter()
    for block in plan.blocks:
        sizes[block.dtype] += block.source.num_bytes
    dtype = str(sizes.most_common(1)[0][0]).removeprefix("torch.")
    values = dict(config.values)
    key = "torch_dtype" if "torch_dtype" in values else "dtype"
    values[key] = dtype
    (directory / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _write_record(job: _Job, shards: WrittenShards, directory: Path) -> None:
    """Which stored tensor each tensor was made from, and what was left behind and why."""
    record = {
        "version": 1,
        "weights": str(job.source.weights),
        "step": job.source.step,
        "model_config": job.config.origin,
        "tensors": [dataclasses.asdict(row) for row in shards.tensors],
        "ignored": dict(job.plan.ignored),
        "tied_copies": [block.source.name for block in job.plan.tied_copies],
    }
    (directory / RECORD_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
