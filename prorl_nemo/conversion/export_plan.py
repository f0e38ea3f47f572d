"""What is read and what is written: one plan for every source format.

A block is read once and written as one or more Hugging Face tensors, each a sequence of row
ranges of the block. The plan is checked whole before any tensor data is touched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from prorl_nemo.conversion.stored_tensor import StoredTensor, TensorIndex

RowRange = tuple[int, int]


@dataclass(frozen=True)
class ExportedTensor:
    """A Hugging Face tensor: rows [start, stop) of its block, one range after the other."""

    name: str
    shape: tuple[int, ...]
    row_ranges: tuple[RowRange, ...]


@dataclass(frozen=True)
class ExportedBlock:
    """A stored tensor, or one layer of a stack, and the tensors made from it."""

    source: StoredTensor
    layer: int | None
    outputs: tuple[ExportedTensor, ...]

    @property
    def dtype(self) -> torch.dtype:
        return self.source.dtype

    @property
    def block_shape(self) -> tuple[int, ...]:
        return self.source.shape if self.layer is None else self.source.shape[1:]


@dataclass(frozen=True)
class ExportPlan:
    """``blocks`` to copy; ``ignored`` names left behind on purpose, with the reason."""

    blocks: tuple[ExportedBlock, ...]
    ignored: Mapping[str, str]
    tied_copies: tuple[ExportedBlock, ...] = ()

    @property
    def num_bytes(self) -> int:
        return sum(
            math.prod(output.shape) * block.dtype.itemsize
            for block in self.blocks
            for output in block.outputs
        )


def plan_identity(
    index: TensorIndex, expected: Mapping[str, tuple[int, ...]], *, prefix: str
) -> ExportPlan:
    """For checkpoints that already use Hugging Face names, after removing ``prefix``.

    A tied output layer that was stored as well becomes a ``tied_copy``, to be compared with
    the embedding and not written. Raises ValueError naming a tensor without a place.
    """
    blocks: list[ExportedBlock] = []
    tied_copies: list[ExportedBlock] = []
    for stored in index.tensors.values():
        name = stored.name.removeprefix(prefix)
        block = make_block(stored, None, ((name, ((0, stored.shape[0] if stored.shape else 1),)),))
        is_tied_copy = name == "lm_head.weight" and name not in expected
        (tied_copies if is_tied_copy else blocks).append(block)
    ignored = dict.fromkeys(index.objects, "not a tensor")
    return ExportPlan(tuple(blocks), ignored, tuple(tied_copies))


def make_block(
    stored: StoredTensor, layer: int | None, outputs: tuple[tuple[str, tuple[RowRange, ...]], ...]
) -> ExportedBlock:
    """A block whose output shapes follow from the row ranges."""
    inner = (stored.shape if layer is None else stored.shape[1:])[1:]
    tensors = tuple(
        ExportedTensor(name, (sum(stop - start for start, stop in ranges), *inner), ranges)
        if stored.shape
        else ExportedTensor(name, (), ranges)
        for name, ranges in outputs
    )
    return ExportedBlock(stored, layer, tensors)


def check_plan(plan: ExportPlan, expected: Mapping[str, tuple[int, ...]], *, where: Path) -> None:
    """Every tensor of the model exactly once, with the right shape, in a floating dtype.

    ``expected`` are the names and shapes of the Hugging Face model itself. Raises ValueError
    that names ``where``, the checkpoint, and the first tensor that is missing, left over,
    doubled or of another shape.
    """
    written: dict[str, tuple[int, ...]] = {}
    for block in plan.blocks:
        if not block.dtype.is_floating_point or block.dtype.itemsize < 2:
            raise ValueError(
                f"{where}: {block.source.name} is stored as {block.dtype}: quantized weights "
                "need their scales; save the checkpoint in bf16 (fp8_param off)"
            )
        for output in block.outputs:
            if output.name in written:
                raise ValueError(
                    f"{where}: {output.name} would be written twice; see {block.source.name}"
                )
            if output.name not in expected:
                raise ValueError(
                    f"{where}: left over: {block.source.name} has no place in the model "
                    f"({output.name})"
                )
            if output.shape != expected[output.name]:
                raise ValueError(
                    f"{where}: {output.name} has shape {list(output.shape)} in the checkpoint and "
                    f"{list(expected[output.name])} in the model configuration"
                )
            written[output.name] = output.shape
    missing = sorted(expected.keys() - written.keys())
    if missing:
        raise ValueError(
            f"{where}: incomplete: the checkpoint lacks {len(missing)} tensors: {missing[0]}"
        )
