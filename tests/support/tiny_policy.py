"""A random Qwen2 model with a character tokenizer, as a Hugging Face directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from prorl_nemo.config_campaign import Config
from prorl_nemo.config_loading import load_config
from prorl_nemo.engines.local.engine import LocalEngine
from prorl_nemo.engines.local.model import TextCodec, save_weights
from prorl_nemo.engines.local.tiny_tokenizer import make_character_tokenizer
from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.types import PromptGroup
from tests.support.campaigns import TINY_CAMPAIGN


def write_tiny_policy(
    directory: Path, *, seed: int = 0, spread: float = 0.3, hidden_size: int = 32
) -> Path:
    """``spread`` is the standard deviation of the weights: more is further from uniform."""
    tokenizer = make_character_tokenizer([])
    eos = tokenizer.eos_token_id
    assert isinstance(eos, int)
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=hidden_size,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=64,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=eos,
            pad_token_id=tokenizer.pad_token_id,
            initializer_range=spread,
        )
    )
    directory.mkdir(parents=True, exist_ok=True)
    save_weights(model.eval(), TextCodec(tokenizer, (eos,)), directory)
    return directory


def engine_config(model: Path, *overrides: str) -> Config:
    """The tiny campaign on the model at ``model``, which seldom ends and is paid all the same."""
    paid = "grpo.reward_shaping.stop_properly_penalty_coef=null"
    return load_config(TINY_CAMPAIGN, [f"policy.model_name={model}", paid, *overrides])


class EvenScorer:
    """The share of characters with an even code: varied, cheap and without any library."""

    def score_all(self, items: Sequence[tuple[Problem, str]]) -> list[Score]:
        return [
            Score(sum(ord(letter) % 2 == 0 for letter in text) / max(1, len(text)))
            for _, text in items
        ]


def make_engine(model: Path, *overrides: str) -> LocalEngine:
    return LocalEngine(engine_config(model, *overrides), EvenScorer())


def make_prompts(*texts: str, first_id: int = 0) -> list[PromptGroup]:
    return [
        PromptGroup(first_id + i, Problem(f"even/{text}", "even", text, ""))
        for i, text in enumerate(texts)
    ]
