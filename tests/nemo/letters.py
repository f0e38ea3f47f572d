"""The smallest language to learn: say the prompt's first letter, in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from prorl_nemo.tasks.base import Problem, Score

LETTERS = "abcdef"
PAD, EOS, FIRST_LETTER = 0, 1, 2
NUM_TOKENS = FIRST_LETTER + len(LETTERS)


class LetterTokenizer:
    """One token per letter; the calls that rollouts make, nothing more."""

    pad_token_id, eos_token_id = PAD, EOS

    def apply_chat_template(self, messages: Any, **_: Any) -> list[int]:
        return self.encode(messages[-1]["content"])

    def encode(self, text: str) -> list[int]:
        return [FIRST_LETTER + LETTERS.index(letter) for letter in text]

    def batch_decode(self, rows: list[Tensor], **_: Any) -> list[str]:
        return ["".join(LETTERS[i - FIRST_LETTER] for i in r.tolist() if i > EOS) for r in rows]

    def __call__(self, text: str, **_: Any) -> Any:
        ids = torch.tensor([self.encode(text)], dtype=torch.float32)

        class Encoding:
            input_ids = ids

        return Encoding()


@dataclass(frozen=True)
class LetterTask:
    """Say the prompt's first letter: the reward is its share of four letters."""

    name: str = "letters"
    needs_isolation: bool = False

    def __len__(self) -> int:
        return len(LETTERS) ** 3

    def __getitem__(self, index: int) -> Problem:
        base = len(LETTERS)
        letters = [LETTERS[index // base**place % base] for place in range(3)]
        return Problem(f"{self.name}-{index}", self.name, "".join(letters), letters[0])

    def score(self, problem: Problem, response: str) -> Score:
        if "ff" in response:
            return Score(0.0, "verifier_error")
        return Score(sum(letter == problem.answer for letter in response) / 4)


class LetterModel(nn.Module):
    """Next-token logits from the token and the mean of those before it."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)

        def weights(*shape: int) -> nn.Parameter:
            values = 0.5 * torch.randn(*shape, generator=generator, dtype=torch.float64)
            return nn.Parameter(values)

        self.embedding, self.head = weights(NUM_TOKENS, 12), weights(12, NUM_TOKENS)

    def forward(self, ids: Tensor) -> Tensor:  # [B, S] -> [B, S, V]
        vectors = self.embedding[ids]
        counts = torch.arange(1, ids.shape[1] + 1, dtype=torch.float64)[:, None]
        return torch.tanh(vectors + vectors.cumsum(dim=1) / counts) @ self.head


def next_token_logprobs(model: LetterModel, ids: Tensor) -> Tensor:  # [B, S - 1]
    logprobs = model(ids)[:, :-1].log_softmax(dim=-1)
    return logprobs.gather(-1, ids[:, 1:, None]).squeeze(-1)
