"""Sizes of a dense decoder: what the layout must divide and what memory must hold.

They are read from the model's own ``config.json`` when it is on disk; for the models of the
shipped recipes they are known without it, so that a plan needs no download.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ModelShape:
    """Counts as in Hugging Face's ``config.json``."""

    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    tie_word_embeddings: bool
    head_dim: int

    @property
    def num_layer_parameters(self) -> int:
        """Weights of one layer; norms and biases, less than a thousandth, are left out."""
        heads = self.num_attention_heads + self.num_key_value_heads
        attention = 2 * self.hidden_size * heads * self.head_dim
        return attention + 3 * self.hidden_size * self.intermediate_size

    @property
    def num_embedding_parameters(self) -> int:
        """Input embedding and output layer."""
        copies = 1 if self.tie_word_embeddings else 2
        return copies * self.vocab_size * self.hidden_size

    @property
    def num_parameters(self) -> int:
        return self.num_hidden_layers * self.num_layer_parameters + self.num_embedding_parameters

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of a BF16 key-value cache for one token, all layers."""
        return 2 * 2 * self.num_hidden_layers * self.num_key_value_heads * self.head_dim


QWEN2_1_5B = ModelShape(28, 1536, 8960, 12, 2, 151936, False, 128)
QWEN2_7B = ModelShape(28, 3584, 18944, 28, 4, 152064, False, 128)
QWEN2_32B = ModelShape(64, 5120, 27648, 40, 8, 152064, False, 128)

KNOWN: Mapping[str, ModelShape] = {
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": QWEN2_1_5B,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": QWEN2_7B,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B": QWEN2_32B,
}


def find_model_shape(name: str) -> ModelShape | None:
    """The shape of a local directory or a known model; None when it can't be told."""
    path = Path(name).expanduser() / "config.json"
    if path.is_file():
        return _read_shape(json.loads(path.read_text(encoding="utf-8")))
    return KNOWN.get(name)


def _read_shape(config: Mapping[str, Any]) -> ModelShape:
    heads = config["num_attention_heads"]
    return ModelShape(
        num_hidden_layers=config["num_hidden_layers"],
        hidden_size=config["hidden_size"],
        intermediate_size=config["intermediate_size"],
        num_attention_heads=heads,
        num_key_value_heads=config.get("num_key_value_heads") or heads,
        vocab_size=config["vocab_size"],
        tie_word_embeddings=config.get("tie_word_embeddings", False),
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
    )
