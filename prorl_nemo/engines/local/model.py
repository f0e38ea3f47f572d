"""Models and tokenizers of the local engine: loading, prompts, weights on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from prorl_nemo.config import PolicyConfig
from prorl_nemo.prompting import encode_prompt

transformers_logging.disable_progress_bar()

WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True)
class TextCodec:
    """A tokenizer with the decisions that sampling needs."""

    tokenizer: PreTrainedTokenizerBase
    eos_token_ids: tuple[int, ...]

    def encode_prompt(self, prompt: str) -> list[int]:
        return encode_prompt(self.tokenizer, prompt)

    def decode_response(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))


def choose_device(name: str) -> torch.device:
    """The device that policy.device names; raises ValueError when it isn't there."""
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise ValueError("policy.device: cuda, but this machine has no CUDA device")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and has_cuda) else "cpu")


def load_policy(policy: PolicyConfig) -> PreTrainedModel:
    """The model of policy.model_name in float32 weights, without dropout.

    Raises ValueError when the directory holds no usable model.
    """
    where = policy.model_name
    _require_weights(where)
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32)
    except (OSError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"policy.model_name: can't load {where}: {reason}") from None
    nn.Module.to(model, choose_device(policy.device))
    for parameter in model.parameters():
        # Out of the mapped file, whose alignment differs and with it the rounding of products:
        # the same weights have to give the same bits, or the KL behind a reset isn't 0.
        parameter.data = parameter.data.clone()
    model.eval()
    return model


def load_codec(policy: PolicyConfig, model: PreTrainedModel) -> TextCodec:
    """The tokenizer of policy.tokenizer.name and the ids that end a response."""
    name = policy.tokenizer.name
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"policy.tokenizer.name: can't load {name}: {reason}") from None
    ids = {tokenizer.eos_token_id}
    generation_config = model.generation_config
    declared = generation_config.eos_token_id if generation_config is not None else None
    ids |= set(declared) if isinstance(declared, list) else {declared}
    eos = tuple(sorted(token for token in ids if token is not None))
    if not eos:
        raise ValueError(f"policy.tokenizer.name: {name} has no end-of-sequence token")
    return TextCodec(tokenizer, eos)


def save_weights(model: PreTrainedModel, codec: TextCodec, directory: Path) -> None:
    """Write a Hugging Face directory with one weights file; raises OSError on a full disk."""
    try:
        model.save_pretrained(directory, max_shard_size="1000GB")
        codec.tokenizer.save_pretrained(directory)
    except SafetensorError as error:
        raise OSError(f"{directory}: can't write the weights: {error}") from None


def load_weights(model: PreTrainedModel, directory: Path) -> None:
    """Replace the model's weights by those that ``save_weights`` wrote."""
    load_model(model, directory / WEIGHTS_FILE, device=str(model.device))


def _require_weights(where: str) -> None:
    """A local directory without weights is named here, before transformers asks a hub."""
    path = Path(where).expanduser()
    looks_local = path.exists() or where.startswith(("/", ".", "~"))
    if not looks_local:
        return
    if not (path / "config.json").is_file():
        raise ValueError(f"policy.model_name: {where} holds no model (config.json is missing)")
    if not any(path.glob("*.safetensors")) and not any(path.glob("pytorch_model*.bin")):
        raise ValueError(f"policy.model_name: {where} holds no weights")
