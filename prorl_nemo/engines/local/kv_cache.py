"""Keys and values written in place: nothing is copied for a new token.

transformers' own growing cache concatenates all keys and values of a layer for every token.
Layers that keep anything but all positions (sliding windows, recurrent states) stay theirs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer


class PreallocatedLayer(DynamicLayer):
    """One layer's keys and values, [rows, heads, positions, head_dim], with room for more."""

    keys: Tensor
    values: Tensor

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity = capacity
        self._length = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Append; the views returned end at the newest position."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._room = [
                self._make_room(states, len(states)) for states in (key_states, value_states)
            ]
        start, self._length = self._length, self._length + key_states.shape[-2]
        assert self._length <= self._capacity, "room for every token of a response"
        for room, new in zip(self._room, (key_states, value_states), strict=True):
            room[:, :, start : self._length] = new
        return self._show()

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep, drop or repeat rows; dropping takes no new memory."""
        rows = len(indices)
        if rows <= len(self._room[0]):
            chosen = [states[indices] for states in (self.keys, self.values)]
            self._room = [room[:rows] for room in self._room]
            for room, states in zip(self._room, chosen, strict=True):
                room[:, :, : self._length] = states
        else:
            grown = [self._make_room(states, rows) for states in (self.keys, self.values)]
            for room, states in zip(grown, (self.keys, self.values), strict=True):
                torch.index_select(states, 0, indices, out=room[:, :, : self._length])
            self._room = grown
        self._show()

    def _make_room(self, states: Tensor, rows: int) -> Tensor:
        _, heads, _, head_dim = states.shape
        return states.new_empty(rows, heads, self._capacity, head_dim)

    def _show(self) -> tuple[Tensor, Tensor]:
        self.keys, self.values = (room[:, :, : self._length] for room in self._room)
        return self.keys, self.values


def make_cache(config: PretrainedConfig, *, capacity: int) -> DynamicCache:
    """An empty cache for prompts and responses of ``capacity`` positions together."""
    cache = DynamicCache(config=config)
    cache.layers = [
        PreallocatedLayer(capacity) if type(layer) is DynamicLayer else layer
        for layer in cache.layers
    ]
    return cache


def select_rows(cache: DynamicCache, rows: Tensor) -> None:
    """Keep, drop or repeat rows of the cache, in the order of ``rows``."""
    cache.batch_select_indices(rows)
