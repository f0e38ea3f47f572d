"""Compares logits of the converted model with those of the source weights themselves.

A Megatron checkpoint goes through a forward pass written from Megatron's layout; one that
already uses Hugging Face names is loaded into the model by a second reader. Both sides
compute in float32 on the same fixed prompt.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prorl_nemo.conversion.megatron_forward import compute_megatron_logits
from prorl_nemo.conversion.model_config import (
    ModelConfig,
    load_config,
    make_decoder_shape,
    make_model,
)
from prorl_nemo.conversion.second_reader import load_float32
from prorl_nemo.conversion.stored_tensor import TensorIndex

PROMPT_LENGTH = 32
PROMPT_STRIDE = 7919  # a prime: the prompt visits the whole vocabulary
TOLERANCE = 1e-4


@dataclass(frozen=True)
class LogitComparison:
    """``max_difference`` is absolute, over all positions and tokens of the fixed prompt."""

    max_difference: float
    max_logit: float
    num_positions: int
    is_greedy_equal: bool
    path: str


def compare_logits(
    index: TensorIndex, config: ModelConfig, converted: Path, *, where: Path
) -> LogitComparison:
    """Raises ValueError when logits differ by more than 1e-4 of the largest logit (at least 1).

    ``where`` is the checkpoint that ``index`` describes, for the message.
    """
    settings = load_config(config)
    input_ids = torch.arange(PROMPT_LENGTH) * PROMPT_STRIDE % settings.vocab_size
    with torch.no_grad():
        if "decoder.final_layernorm.weight" in index.tensors:
            path = "forward pass on Megatron's own layout"
            expected = _compute_from_megatron(index, config, settings, input_ids)
        else:
            path = "the model loaded by a second reader"
            expected = _compute_from_hugging_face_names(index, settings, input_ids)
        actual = _load_converted(converted)(input_ids[None]).logits[0]
    difference = float((expected - actual).abs().max())
    largest = float(expected.abs().max())
    if not difference <= TOLERANCE * max(1.0, largest):
        raise ValueError(
            f"{where}: logits of the converted model differ from its own by {difference:.3g} "
            f"(largest logit {largest:.3g}): not converted"
        )
    is_greedy_equal = bool((expected.argmax(-1) == actual.argmax(-1)).all())
    return LogitComparison(difference, largest, PROMPT_LENGTH, is_greedy_equal, path)


def _load_converted(directory: Path) -> Any:
    from transformers import AutoModelForCausalLM  # deferred: two seconds of import

    load: Any = AutoModelForCausalLM.from_pretrained
    return load(
        directory, dtype=torch.float32, attn_implementation="eager", local_files_only=True
    ).eval()


def _compute_from_megatron(
    index: TensorIndex, config: ModelConfig, settings: Any, input_ids: Tensor
) -> Tensor:
    rotary = _make_tiny_model(settings).model.rotary_emb
    cos, sin = rotary(torch.zeros(1, 1), torch.arange(len(input_ids))[None])
    return compute_megatron_logits(
        index.tensors,
        make_decoder_shape(config),
        input_ids,
        rope=(cos[0], sin[0]),
        norm_eps=settings.rms_norm_eps,
    )


def _make_tiny_model(settings: Any) -> Any:
    """The architecture with next to no weights: RoPE depends on the configuration alone."""
    tiny = copy.deepcopy(settings)
    tiny.head_dim = getattr(settings, "head_dim", None) or (
        settings.hidden_size // settings.num_attention_heads
    )
    tiny.num_hidden_layers, tiny.vocab_size, tiny.intermediate_size = 0, 1, 1
    tiny.layer_types = []
    tiny.pad_token_id = None
    return make_model(tiny)


def _compute_from_hugging_face_names(
    index: TensorIndex, settings: Any, input_ids: Tensor
) -> Tensor:
    model = make_model(settings)
    stored = {
        name.removeprefix("model.") if name.startswith("model.model.") else name: tensor
        for name, tensor in index.tensors.items()
    }
    for name, parameter in model.named_parameters():
        key = name if name in stored else f"model.{name}"
        parameter.copy_(load_float32(stored[key]))
    logits: Tensor = model(input_ids[None]).logits[0]
    return logits
