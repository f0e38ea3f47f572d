"""How a prompt becomes token ids, the same in training and in every kind of evaluation."""

from __future__ import annotations

from typing import Any


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a user's prompt, through the chat template where the tokenizer has one.

    ``tokenizer`` is a Hugging Face tokenizer.
    """
    if tokenizer.chat_template is None:
        return list(tokenizer.encode(prompt))
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=False,
    )
    return list(ids)
