"""Log-probabilities of responses, in micro-batches of similar length, each prompt once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from prorl_nemo.algorithms.logprobs import gather_logprobs_and_entropy
from prorl_nemo.engines.local.prefix import extend, left_pad, prefill, select_rows
from prorl_nemo.types import RolloutBatch

# Positions whose log-softmax is held in float32 at a time.
LOGPROB_CHUNK_TOKENS = 512


@dataclass(frozen=True)
class ResponseRows:
    """Some rows of a batch, their responses side by side from column 0.

    ``columns`` says where in [B, S] each response token stands; padding points at the row's
    last token and is False in ``is_response``.
    """

    rows: Tensor  # [R] int64
    columns: Tensor  # [R, L] int64
    is_response: Tensor  # [R, L] bool

    @classmethod
    def of(cls, rollouts: RolloutBatch, rows: Tensor) -> ResponseRows:
        lengths = rollouts.response_lengths[rows]
        offsets = torch.arange(int(lengths.max())).expand(len(rows), -1)
        is_response = offsets < lengths[:, None]
        columns = rollouts.prompt_lengths[rows][:, None] + offsets
        last = rollouts.input_lengths[rows][:, None] - 1
        return cls(rows, torch.where(is_response, columns, last), is_response)

    def take(self, values: Tensor) -> Tensor:
        """[B, S] -> [R, L]."""
        return values[self.rows].gather(1, self.columns)

    def put(self, target: Tensor, values: Tensor) -> None:
        """Write [R, L] back to where it belongs in ``target``, [B, S]."""
        rows = self.rows[:, None].expand_as(self.columns)
        target[rows[self.is_response], self.columns[self.is_response]] = values[self.is_response]


def split_by_length(lengths: Sequence[int], *, max_tokens: int) -> list[list[int]]:
    """Rows in groups of rising length, each at most ``max_tokens`` slots with its padding."""
    groups: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if groups and (len(groups[-1]) + 1) * lengths[row] <= max_tokens:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def compute_logprobs_and_entropy(
    model: PreTrainedModel,
    rollouts: RolloutBatch,
    part: ResponseRows,
    *,
    temperature: float,
    precision: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Log-probability of every response token given what precedes it, and the entropy there.

    Both [R, L] float32 on the model's device, at ``temperature``; padding is to be ignored.
    """
    device = model.device
    prompts, prompt_of_row = _prompts(rollouts, part.rows)
    prompt_ids, is_token = left_pad(prompts, device)
    tokens = part.take(rollouts.input_ids).to(device)
    copies = prompt_of_row.to(device)
    with torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32):
        cache = DynamicCache(config=model.config)
        logits = prefill(model, prompt_ids, is_token, cache)[copies].unsqueeze(1)
        if tokens.shape[1] > 1:
            select_rows(cache, copies)
            behind = extend(model, tokens[:, :-1], is_token[copies], cache)
            logits = torch.cat([logits, behind], dim=1)
    return gather_logprobs_and_entropy(
        logits, tokens, temperature=temperature, chunk_size=LOGPROB_CHUNK_TOKENS
    )


def _prompts(rollouts: RolloutBatch, rows: Tensor) -> tuple[list[list[int]], Tensor]:
    """The distinct prompts of ``rows``, and which of them each row follows."""
    groups, prompt_of_row = torch.unique(rollouts.group_ids[rows], return_inverse=True)
    first_row = torch.zeros(len(groups), dtype=torch.int64)
    first_row[prompt_of_row] = rows  # any row of the group will do
    prompts = [
        rollouts.input_ids[row, : int(rollouts.prompt_lengths[row])].tolist()
        for row in first_row.tolist()
    ]
    return prompts, prompt_of_row
