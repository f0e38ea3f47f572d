"""Batched sampling from a Hugging Face causal LM with a KV cache.

A prompt is prefilled once and its cache shared by all of its samples; rows that have ended
are taken out of the batch. Log-probabilities are those of the distribution that was sampled
from before any nucleus cut: log-softmax of logits / temperature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from prorl_nemo.engines.local.kv_cache import make_cache, select_rows
from prorl_nemo.engines.local.prefix import additive_mask, left_pad, prefill

# Ended rows are taken out of the batch once this share of it, or less, is still alive.
COMPACT_BELOW = 0.75


@dataclass(frozen=True)
class SamplingSettings:
    """How to sample; ``max_batch_tokens`` bounds rows x (prompt + response) per chunk."""

    temperature: float
    top_p: float
    max_new_tokens: int
    max_batch_tokens: int
    eos_token_ids: tuple[int, ...]


@dataclass(frozen=True)
class Response:
    """One sampled response; ``truncated`` means that no end-of-sequence was reached."""

    tokens: tuple[int, ...]  # end-of-sequence included
    logprobs: tuple[float, ...]
    entropies: tuple[float, ...]  # nats, of the distributions that logprobs are of
    truncated: bool


OnSampled = Callable[[int, list[Response]], None]


@torch.inference_mode()
def sample_responses(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    num_samples: int,
    settings: SamplingSettings,
    generator: torch.Generator,
    on_sampled: OnSampled | None = None,
) -> list[list[Response]]:
    """``num_samples`` responses for each prompt (token ids), in the order of the prompts.

    ``on_sampled`` is told of the responses to a prompt as soon as their chunk is done; a group
    that is split over chunks comes in parts.
    """
    results: list[list[Response]] = [[] for _ in prompts]
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for chunk in _chunks(by_length, prompts, num_samples=num_samples, settings=settings):
        rows = _sample_chunk(
            model,
            [prompts[i] for i, _ in chunk],
            repeats=[count for _, count in chunk],
            settings=settings,
            generator=generator,
        )
        for index, count in chunk:
            results[index] += rows[:count]
            if on_sampled is not None:
                on_sampled(index, rows[:count])
            rows = rows[count:]
    return results


def _chunks(
    order: Sequence[int],
    prompts: Sequence[Sequence[int]],
    *,
    num_samples: int,
    settings: SamplingSettings,
) -> list[list[tuple[int, int]]]:
    """(prompt, samples) pairs that are decoded side by side; a large group may be split."""
    chunks: list[list[tuple[int, int]]] = []
    for index in order:
        left = num_samples
        longest = len(prompts[index]) + settings.max_new_tokens
        capacity = max(1, settings.max_batch_tokens // longest)
        while left:
            # Prompts come by rising length, so the newest one bounds the chunk.
            used = sum(count for _, count in chunks[-1]) if chunks else 0
            free = capacity - used if chunks else 0
            if free <= 0:
                chunks.append([])
                free = capacity
            take = min(left, free)
            chunks[-1].append((index, take))
            left -= take
    return chunks


def _sample_chunk(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    repeats: Sequence[int],
    settings: SamplingSettings,
    generator: torch.Generator,
) -> list[Response]:
    input_ids, is_token = left_pad(prompts, model.device)
    cache = make_cache(model.config, capacity=input_ids.shape[1] + settings.max_new_tokens)
    copies = torch.repeat_interleave(torch.tensor(repeats, device=model.device))
    logits = prefill(model, input_ids, is_token, cache)[copies].float()
    select_rows(cache, copies)
    return _decode(model, cache, logits, is_token[copies], settings=settings, generator=generator)


def _decode(
    model: PreTrainedModel,
    cache: DynamicCache,
    logits: Tensor,
    is_token: Tensor,
    *,
    settings: SamplingSettings,
    generator: torch.Generator,
) -> list[Response]:
    """Sample until every row has ended or is at the limit; ended rows leave in bunches."""
    num_rows, limit, device = len(logits), settings.max_new_tokens, logits.device
    tokens = torch.zeros(num_rows, limit, dtype=torch.int64, device=device)
    logprobs, entropies = (torch.zeros(num_rows, limit, device=device) for _ in range(2))
    lengths = torch.full((num_rows,), limit, device=device)
    ended = torch.zeros(num_rows, dtype=torch.bool, device=device)
    eos = torch.tensor(settings.eos_token_ids, device=device)
    rows = torch.arange(num_rows, device=device)  # of the batch, by their place in the chunk
    positions = is_token.sum(dim=-1)
    for column in range(limit):
        token, logprob, entropy = _sample(logits, settings, generator)
        tokens[rows, column] = token
        logprobs[rows, column] = logprob
        entropies[rows, column] = entropy
        ends_now = torch.isin(token, eos) & ~ended[rows]
        lengths[rows[ends_now]] = column + 1
        ended[rows[ends_now]] = True
        alive = torch.nonzero(~ended[rows]).flatten()
        if column + 1 == limit or not len(alive):
            break
        if len(alive) <= COMPACT_BELOW * len(rows):
            select_rows(cache, alive)
            rows, token, is_token, positions = (
                rows[alive],
                token[alive],
                is_token[alive],
                positions[alive],
            )
        is_token = torch.nn.functional.pad(is_token, (0, 1), value=True)
        output = model(
            input_ids=token[:, None],
            attention_mask=additive_mask(is_token[:, None, :], model.dtype),
            position_ids=positions[:, None],
            past_key_values=cache,
            use_cache=True,
        )
        logits, positions = output.logits[:, -1].float(), positions + 1
    return _to_responses(tokens, logprobs, entropies, lengths, ended)


def _sample(
    logits: Tensor, settings: SamplingSettings, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """A token per row, its log-probability and the entropy, at the sampling temperature."""
    logprobs = torch.log_softmax(logits / settings.temperature, dim=-1)
    probabilities = logprobs.exp()
    # A token that can't be sampled has probability 0 and a logarithm of -inf.
    entropy = -torch.where(probabilities > 0, probabilities * logprobs, 0.0).sum(dim=-1)
    if settings.top_p < 1.0:
        probabilities = _keep_nucleus(probabilities, settings.top_p)
    token = draw_tokens(probabilities, generator)
    return token, logprobs.gather(-1, token[:, None]).squeeze(-1), entropy


def draw_tokens(
    probabilities: Tensor,  # [rows, V], sums need not be 1
    generator: torch.Generator,
) -> Tensor:
    """One index per row, [rows], never one of probability 0."""
    if probabilities.device.type != "cpu":
        return torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)
    # torch.multinomial draws a random number per token of the vocabulary: 2 to 13 times as slow.
    mass = probabilities.cumsum(dim=-1, dtype=torch.float64)
    share = torch.rand(len(mass), 1, dtype=torch.float64, generator=generator)
    return torch.searchsorted(mass, share * mass[:, -1:], right=True).squeeze(-1)


def _keep_nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Zero all but the most likely tokens whose mass reaches ``top_p``."""
    ordered, order = probabilities.sort(dim=-1, descending=True)
    mass_before = ordered.cumsum(dim=-1) - ordered
    ordered = torch.where(mass_before < top_p, ordered, 0.0)
    return torch.zeros_like(probabilities).scatter(-1, order, ordered)


def _to_responses(
    tokens: Tensor, logprobs: Tensor, entropies: Tensor, lengths: Tensor, ended: Tensor
) -> list[Response]:
    columns = (values.tolist() for values in (tokens, logprobs, entropies, lengths, ended))
    return [
        Response(
            tuple(ids[:length]), tuple(logs[:length]), tuple(nats[:length]), truncated=not has_ended
        )
        for ids, logs, nats, length, has_ended in zip(*columns, strict=True)
    ]
