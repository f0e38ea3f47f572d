"""Log-probabilities of responses, packed behind their prompts, in micro-batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from prorl_nemo.algorithms.logprobs import gather_logprobs_and_entropy
from prorl_nemo.engines.local.packing import (
    PACKED_TOKENS,
    Bin,
    bin_width,
    fill_bins,
    pack,
    split_by_length,
)
from prorl_nemo.engines.local.prefix import additive_mask
from prorl_nemo.types import RolloutBatch

# Positions whose log-softmax is held in float32 at a time.
LOGPROB_CHUNK_TOKENS = 512


@dataclass(frozen=True)
class ResponseRows:
    """Some rows of a batch, their responses side by side from column 0.

    ``columns`` says where in [B, S] each response token stands; padding points at the row's
    last token and is False in ``is_response``. The model gets the rows packed, as ``bins`` say.
    """

    rows: Tensor  # [R] int64
    columns: Tensor  # [R, L] int64
    is_response: Tensor  # [R, L] bool
    bins: tuple[Bin, ...]  # the same rows, in the same order

    @classmethod
    def of(
        cls, rollouts: RolloutBatch, rows: Tensor, *, max_tokens: int = PACKED_TOKENS
    ) -> ResponseRows:
        """``rows``, those of a group side by side, in bins of ``max_tokens`` slots."""
        return cls.of_bins(rollouts, fill_bins(rollouts, rows, max_tokens=max_tokens))

    @classmethod
    def of_bins(cls, rollouts: RolloutBatch, bins: Sequence[Bin]) -> ResponseRows:
        rows = torch.tensor([row for rows in bins for row in rows])
        lengths = rollouts.response_lengths[rows]
        offsets = torch.arange(int(lengths.max())).expand(len(rows), -1)
        is_response = offsets < lengths[:, None]
        columns = rollouts.prompt_lengths[rows][:, None] + offsets
        last = rollouts.input_lengths[rows][:, None] - 1
        return cls(rows, torch.where(is_response, columns, last), is_response, tuple(bins))

    def take(self, values: Tensor) -> Tensor:
        """[B, S] -> [R, L]."""
        return values[self.rows].gather(1, self.columns)

    def put(self, target: Tensor, values: Tensor) -> None:
        """Write [R, L] back to where it belongs in ``target``, [B, S]."""
        rows = self.rows[:, None].expand_as(self.columns)
        target[rows[self.is_response], self.columns[self.is_response]] = values[self.is_response]


def make_micro_batches(
    rollouts: RolloutBatch, rows: Tensor, *, max_tokens: int
) -> list[ResponseRows]:
    """``rows`` in parts of at most ``max_tokens`` slots, padding included."""
    bins = fill_bins(rollouts, rows, max_tokens=min(PACKED_TOKENS, max_tokens))
    widths = [bin_width(rollouts, one) for one in bins]
    return [
        ResponseRows.of_bins(rollouts, [bins[i] for i in chosen])
        for chosen in split_by_length(widths, max_tokens=max_tokens)
    ]


def compute_logprobs_and_entropy(
    model: PreTrainedModel,
    rollouts: RolloutBatch,
    part: ResponseRows,
    *,
    temperature: float,
    precision: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Log-probability of every response token given what precedes it, and the entropy there.

    Both [R, L] float32 on the model's device, at ``temperature``; 0 in the padding.
    """
    device = model.device
    packed = pack(rollouts, part.bins)
    with (
        torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32),
        _logits_only_at(model, packed.predictors.to(device)),
    ):
        output = model(
            input_ids=packed.input_ids.to(device),
            attention_mask=additive_mask(packed.allowed.to(device), model.dtype),
            position_ids=packed.position_ids.to(device),
            use_cache=False,
        )
    is_response = part.is_response.to(device)
    tokens = part.take(rollouts.input_ids)[part.is_response].to(device)
    logprobs, entropy = gather_logprobs_and_entropy(
        output.logits, tokens[None], temperature=temperature, chunk_size=LOGPROB_CHUNK_TOKENS
    )
    return _unpack(logprobs[0], is_response), _unpack(entropy[0], is_response)


@contextmanager
def _logits_only_at(model: PreTrainedModel, slots: Tensor) -> Iterator[None]:
    """Let the output layer see the hidden states at ``slots`` only; logits become [1, T, V].

    A hook, for what an architecture does to its logits behind that layer has to be done.
    """

    def select(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0].flatten(0, 1)[slots][None],)

    handle = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


def _unpack(values: Tensor, is_response: Tensor) -> Tensor:
    """[T] -> [R, L], 0 in the padding."""
    rows = torch.zeros(is_response.shape, dtype=values.dtype, device=values.device)
    return rows.masked_scatter(is_response, values)
