"""Log-probabilities of a right-padded batch, in micro-batches of similar length.

With causal attention a token never sees the padding behind it, so no attention mask is
needed and padding costs only its share of the slots.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from prorl_nemo.algorithms.logprobs import gather_logprobs_and_entropy

# Positions whose log-softmax is held in float32 at a time.
LOGPROB_CHUNK_TOKENS = 512


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
    input_ids: Tensor,  # [B, S]
    *,
    temperature: float,
    precision: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Log-probability of every token given those before it, and the entropy there.

    Both [B, S] float32 at ``temperature``; column 0, which nothing predicts, is 0.
    """
    with torch.autocast(input_ids.device.type, dtype=precision, enabled=precision != torch.float32):
        logits = model(input_ids=input_ids, use_cache=False).logits
    # Logits at t - 1 predict token t: shift the tokens instead of copying the logits.
    logprobs, entropy = gather_logprobs_and_entropy(
        logits,
        input_ids.roll(-1, dims=1),
        temperature=temperature,
        chunk_size=LOGPROB_CHUNK_TOKENS,
    )
    return _shift_right(logprobs), _shift_right(entropy)


def _shift_right(values: Tensor) -> Tensor:
    return torch.nn.functional.pad(values[:, :-1], (1, 0))
