"""Responses packed side by side behind their prompts: no padding to the longest one.

A row of the model's input holds prompts, each followed by some of its responses. A response
token sees its prompt and its own response only, at the positions it would have alone, so the
result and its gradient are those of whole sequences: a prompt that many responses share is
computed once, and hardly a slot is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prorl_nemo.types import RolloutBatch

# Slots of a packed row: longer rows waste less, and attend to more that is masked.
PACKED_TOKENS = 128
# A micro-batch is cut where its padding exceeds this share, unless the pieces get too small to
# be worth a forward pass of their own.
MAX_PADDING = 0.1
MIN_MICRO_BATCH_TOKENS = 2048

Bin = list[int]  # rows of a batch that share one packed row; those of a group are neighbours


@dataclass(frozen=True)
class PackedInput:
    """What a causal model is given; padding sees only padding."""

    input_ids: Tensor  # [N, W] int64
    position_ids: Tensor  # [N, W] int64
    allowed: Tensor  # [N, W, W] bool: the query may see the key
    predictors: Tensor  # [T] int64: flat slots whose logits predict the response tokens, in order


def fill_bins(rollouts: RolloutBatch, rows: Tensor, *, max_tokens: int) -> list[Bin]:
    """Rows in bins of at most ``max_tokens`` slots, or of one row that is longer.

    All bins are about equally full: the fewest bins, and then the narrowest.
    """
    order = rows[rollouts.group_ids[rows].argsort(stable=True)]
    items = list(
        zip(
            order.tolist(),
            rollouts.group_ids[order].tolist(),
            rollouts.prompt_lengths[order].tolist(),
            rollouts.response_lengths[order].tolist(),
            strict=True,
        )
    )
    bins = _fill(items, max_tokens)
    low, high = 1, max_tokens
    while low < high:
        middle = (low + high) // 2
        narrower = _fill(items, middle)
        if len(narrower) <= len(bins):
            bins, high = narrower, middle
        else:
            low = middle + 1
    return bins


def _fill(items: Sequence[tuple[int, int, int, int]], capacity: int) -> list[Bin]:
    """One bin after the other, in order; a prompt is repeated where its group is cut."""
    bins: list[Bin] = []
    used, last_group = 0, None
    for row, group, prompt, response in items:
        needed = response if group == last_group else prompt + response
        if not bins or used + needed > capacity:
            bins.append([])
            used, needed = 0, prompt + response
        bins[-1].append(row)
        used, last_group = used + needed, group
    return bins


def bin_width(rollouts: RolloutBatch, rows: Bin) -> int:
    """Slots of a bin: its responses, and each prompt once."""
    prompts = dict(
        zip(rollouts.group_ids[rows].tolist(), rollouts.prompt_lengths[rows].tolist(), strict=True)
    )
    return int(rollouts.response_lengths[rows].sum()) + sum(prompts.values())


def split_by_length(lengths: Sequence[int], *, max_tokens: int) -> list[list[int]]:
    """Rows in groups of rising length, each at most ``max_tokens`` slots with its padding."""
    groups: list[list[int]] = []
    used = 0  # slots of the last group without its padding
    for row in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        slots = (len(groups[-1]) + 1) * lengths[row] if groups else 0
        padding = slots - used - lengths[row]
        is_wasteful = slots > MIN_MICRO_BATCH_TOKENS and padding > MAX_PADDING * slots
        if groups and slots <= max_tokens and not is_wasteful:
            groups[-1].append(row)
            used += lengths[row]
        else:
            groups.append([row])
            used = lengths[row]
    return groups


def pack(rollouts: RolloutBatch, bins: Sequence[Bin]) -> PackedInput:
    """Lay out ``bins``; the response tokens come in the order of their rows."""
    layout = _lay_out(rollouts, bins)
    width = max(bin_width(rollouts, rows) for rows in bins)
    rows, trees = torch.tensor(layout.rows), torch.tensor(layout.tree_of_row)
    prompt_rows = torch.tensor(layout.tree_rows)
    prompt_starts = _flat(layout.tree_starts, width)
    prompt_lengths = rollouts.prompt_lengths[prompt_rows]
    input_ids, position_ids, tree, branch = (
        torch.full((len(bins) * width,), value) for value in (0, 0, -1, -1)
    )

    slots, offsets, owners = _spread(prompt_starts, prompt_lengths)
    input_ids[slots] = rollouts.input_ids[prompt_rows[owners], offsets]
    position_ids[slots] = offsets
    tree[slots] = owners

    slots, offsets, owners = _spread(_flat(layout.starts, width), rollouts.response_lengths[rows])
    positions = rollouts.prompt_lengths[rows][owners] + offsets
    input_ids[slots] = rollouts.input_ids[rows[owners], positions]
    position_ids[slots] = positions
    tree[slots] = trees[owners]
    branch[slots] = owners
    prompt_ends = (prompt_starts + prompt_lengths)[trees]
    predictors = torch.where(offsets == 0, prompt_ends[owners], slots) - 1
    shape = (len(bins), width)
    return PackedInput(
        input_ids.view(shape),
        position_ids.view(shape),
        _allowed(tree.view(shape), branch.view(shape)),
        predictors,
    )


@dataclass(frozen=True)
class _Layout:
    """Where prompts (the roots of trees) and responses (their branches) begin: (bin, slot)."""

    tree_rows: list[int]  # a row with the tree's prompt
    tree_starts: list[tuple[int, int]]
    rows: list[int]
    starts: list[tuple[int, int]]
    tree_of_row: list[int]


def _lay_out(rollouts: RolloutBatch, bins: Sequence[Bin]) -> _Layout:
    layout = _Layout([], [], [], [], [])
    groups = rollouts.group_ids.tolist()
    prompts, responses = rollouts.prompt_lengths.tolist(), rollouts.response_lengths.tolist()
    for line, rows in enumerate(bins):
        slot, last_group = 0, None
        for row in rows:
            if groups[row] != last_group:
                layout.tree_rows.append(row)
                layout.tree_starts.append((line, slot))
                slot, last_group = slot + prompts[row], groups[row]
            layout.rows.append(row)
            layout.starts.append((line, slot))
            layout.tree_of_row.append(len(layout.tree_rows) - 1)
            slot += responses[row]
    return layout


def _flat(starts: Sequence[tuple[int, int]], width: int) -> Tensor:
    return torch.tensor([line * width + slot for line, slot in starts])


def _spread(starts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For every token of pieces at ``starts``: its slot, its offset, and its piece; [T] each."""
    owners = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    offsets = torch.arange(len(owners)) - (lengths.cumsum(0) - lengths)[owners]
    return starts[owners] + offsets, offsets, owners


def _allowed(tree: Tensor, branch: Tensor) -> Tensor:
    """[N, W, W] bool: at or before the query, in its tree, and on its way to the root."""
    causal = torch.ones(tree.shape[1], tree.shape[1], dtype=torch.bool).tril()
    same_tree = tree[:, :, None] == tree[:, None, :]
    on_the_way = (branch[:, None, :] == -1) | (branch[:, :, None] == branch[:, None, :])
    return causal & same_tree & on_the_way
