"""A Qwen2 model made from scratch and warm-started on worked examples.

The embedded default: a base model that knows a little, so that a laptop can run the whole
campaign. The result is an ordinary Hugging Face directory; the engine can't tell it from any
other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from prorl_nemo.atomic_directory import verify_directory, write_directory
from prorl_nemo.config_campaign import TinyModelConfig
from prorl_nemo.data.prompt_stream import PromptStream
from prorl_nemo.engines.local.model import TextCodec, save_weights
from prorl_nemo.engines.local.tiny_tokenizer import make_character_tokenizer
from prorl_nemo.tasks.base import Problem, Task

PHRASE_SAMPLE = 32
IGNORED = -100

Progress = Callable[[int, float], None]  # (steps done, loss in nats per token)


def make_tiny_model(
    directory: Path,
    config: TinyModelConfig,
    *,
    phrase_tasks: Sequence[Task],
    examples: PromptStream,
    max_length: int,
    seed: int,
    progress: Progress,
) -> Path:
    """Make the model at ``directory`` unless it is there already, whole.

    ``phrase_tasks`` are all tasks of the campaign: their phrases become tokens. ``examples``
    are the problems of the warm start.
    """
    if directory.exists():
        verify_directory(directory)
        return directory
    codec = _make_codec(phrase_tasks)
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM(_architecture(config, codec, max_length=max_length))
    _warm_start(model, codec, config, examples, progress)
    write_directory(directory, lambda target: save_weights(model, codec, target))
    return directory


def _make_codec(tasks: Sequence[Task]) -> TextCodec:
    prompts = [[task[i].prompt for i in range(min(PHRASE_SAMPLE, len(task)))] for task in tasks]
    tokenizer = make_character_tokenizer(prompts)
    assert isinstance(tokenizer.eos_token_id, int)
    return TextCodec(tokenizer, (tokenizer.eos_token_id,))


def _architecture(config: TinyModelConfig, codec: TextCodec, *, max_length: int) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=len(codec.tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        max_position_embeddings=max_length,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=codec.eos_token_ids[0],
        pad_token_id=codec.tokenizer.pad_token_id,
    )


def _warm_start(
    model: PreTrainedModel,
    codec: TextCodec,
    config: TinyModelConfig,
    examples: PromptStream,
    progress: Progress,
) -> None:
    warm = config.warm_start
    optimizer = torch.optim.AdamW(model.parameters(), lr=warm.lr)
    for step in range(1, warm.num_steps + 1):
        input_ids, labels = _worked_examples(examples.take(warm.batch_size), codec)
        loss = _answer_loss(model, input_ids, labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        progress(step, loss.item())
    model.eval()


def _answer_loss(model: PreTrainedModel, input_ids: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the answers given the prompts, mean over answer tokens."""
    logits = model(input_ids=input_ids, use_cache=False).logits[:, :-1]
    return nn.functional.cross_entropy(
        logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED
    )


def _worked_examples(problems: Sequence[Problem], codec: TextCodec) -> tuple[Tensor, Tensor]:
    """Prompt, answer and end token, right-padded; labels only on what follows the prompt."""
    rows = [
        (
            codec.encode_prompt(problem.prompt),
            [*codec.tokenizer.encode(problem.answer), codec.eos_token_ids[0]],
        )
        for problem in problems
    ]
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    input_ids = torch.zeros(len(rows), width, dtype=torch.int64)
    labels = torch.full((len(rows), width), IGNORED)
    for row, (prompt, answer) in enumerate(rows):
        end = len(prompt) + len(answer)
        input_ids[row, :end] = torch.tensor([*prompt, *answer])
        labels[row, len(prompt) : end] = torch.tensor(answer)
    return input_ids, labels
