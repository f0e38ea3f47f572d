"""Keys and values written in place are those of transformers' own growing cache."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel, Qwen2Config
from transformers.cache_utils import DynamicSlidingWindowLayer

from prorl_nemo.engines.local.kv_cache import PreallocatedLayer, make_cache, select_rows
from tests.support.tiny_policy import write_tiny_policy

# Rows of the batch are repeated, dropped and reordered, as sampling does it.
SELECTIONS = ([0, 0, 0, 1, 1], [0, 2, 3, 4], [1, 0])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    path: Path = write_tiny_policy(tmp_path_factory.mktemp("policy"))
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path).eval()
    return loaded.double()


@torch.no_grad()
def decode(model: PreTrainedModel, cache: DynamicCache) -> list[Tensor]:
    ids = torch.arange(8).reshape(2, 4) + 5
    logits = [model(input_ids=ids, past_key_values=cache, use_cache=True).logits]
    for step, rows in enumerate(SELECTIONS):
        select_rows(cache, torch.tensor(rows))
        token = torch.arange(len(rows))[:, None] + 20 + step
        logits.append(model(input_ids=token, past_key_values=cache, use_cache=True).logits)
    return logits


def test_it_gives_what_a_growing_cache_gives(model: PreTrainedModel) -> None:
    cache = make_cache(model.config, capacity=7)
    assert all(type(layer) is PreallocatedLayer for layer in cache.layers)
    expected = decode(model, DynamicCache(config=model.config))
    for ours, theirs in zip(decode(model, cache), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


def test_a_token_moves_nothing() -> None:
    layer = PreallocatedLayer(3)
    addresses = set()
    for token in range(3):
        keys, values = layer.update(torch.full((2, 1, 1, 4), float(token)), torch.zeros(2, 1, 1, 4))
        addresses.add((keys.data_ptr(), values.data_ptr()))
    assert len(addresses) == 1
    assert keys[0, 0, :, 0].tolist() == [0.0, 1.0, 2.0]
    assert layer.get_seq_length() == 3
    with pytest.raises(AssertionError, match="room"):
        layer.update(torch.zeros(2, 1, 1, 4), torch.zeros(2, 1, 1, 4))


def test_layers_that_keep_something_else_stay_as_they_are() -> None:
    config = Qwen2Config(
        num_hidden_layers=2,
        use_sliding_window=True,
        sliding_window=4,
        layer_types=["full_attention", "sliding_attention"],
    )
    cache = make_cache(config, capacity=7)
    assert [type(layer) for layer in cache.layers] == [PreallocatedLayer, DynamicSlidingWindowLayer]
