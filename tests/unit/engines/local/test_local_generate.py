"""Sampling against transformers' own forward pass, and against the distribution it must follow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from scipy import stats
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from prorl_nemo.engines.local.generate import (
    Response,
    SamplingSettings,
    _chunks,
    _keep_nucleus,
    draw_tokens,
    sample_responses,
)
from prorl_nemo.seeding import seeded_generator
from tests.support.tiny_policy import write_tiny_policy

PROMPTS = [[5, 6, 7, 8, 9, 10], [11], [12, 13, 14], [15, 16], [20, 21, 22, 23], [11, 12]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    path = write_tiny_policy(tmp_path_factory.mktemp("policy"))
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path).eval()
    return loaded


def settings(**changes: object) -> SamplingSettings:
    values = {
        "temperature": 1.0,
        "top_p": 1.0,
        "max_new_tokens": 7,
        "max_batch_tokens": 10_000,
        "eos_token_ids": (1,),
    }
    return SamplingSettings(**{**values, **changes})  # type: ignore[arg-type]


def sample(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]] = PROMPTS,
    *,
    num_samples: int = 4,
    seed: int = 0,
    **changes: object,
) -> list[list[Response]]:
    return sample_responses(
        model,
        prompts,
        num_samples=num_samples,
        settings=settings(**changes),
        generator=seeded_generator("test", seed),
    )


@torch.no_grad()
def full_logprobs(model: PreTrainedModel, prompt: Sequence[int], response: Response) -> Tensor:
    """One unpadded row through transformers, without cache: log-softmax at temperature 1."""
    ids = torch.tensor([[*prompt, *response.tokens]])
    logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits, dim=-1)


MANY_ENDS = tuple(range(0, 104, 5))


@pytest.mark.parametrize("max_batch_tokens", [10_000, 60, 1])
@pytest.mark.parametrize("eos_token_ids", [(1,), MANY_ENDS])
def test_logprobs_are_those_of_a_full_forward(
    model: PreTrainedModel, max_batch_tokens: int, eos_token_ids: tuple[int, ...]
) -> None:
    """With left padding, split groups, and rows that leave the batch at different times."""
    groups = sample(model, max_batch_tokens=max_batch_tokens, eos_token_ids=eos_token_ids)
    lengths = set()
    for prompt, group in zip(PROMPTS, groups, strict=True):
        assert len(group) == 4
        for response in group:
            expected = full_logprobs(model, prompt, response)
            expected = expected.gather(-1, torch.tensor(response.tokens)[:, None])[:, 0]
            assert response.logprobs == pytest.approx(expected.tolist(), abs=1e-5)
            lengths.add(len(response.tokens))
    assert eos_token_ids == (1,) or len(lengths) >= 4


def test_logprobs_are_at_the_sampling_temperature(model: PreTrainedModel) -> None:
    for prompt, group in zip(PROMPTS, sample(model, temperature=0.5), strict=True):
        for response in group:
            at_one = full_logprobs(model, prompt, response)
            expected = torch.log_softmax(at_one / 0.5, dim=-1)
            expected = expected.gather(-1, torch.tensor(response.tokens)[:, None])[:, 0]
            assert response.logprobs == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_cold_sampler_agrees_with_greedy_generate(model: PreTrainedModel) -> None:
    for prompt, group in zip(PROMPTS, sample(model, temperature=1e-4), strict=True):
        generated = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            do_sample=False,
            max_new_tokens=7,
            eos_token_id=1,
            pad_token_id=0,
        )
        assert {response.tokens for response in group} == {
            tuple(generated[0, len(prompt) :].tolist())
        }


def test_truncation_is_the_lack_of_an_end(model: PreTrainedModel) -> None:
    groups = sample(model, num_samples=8, eos_token_ids=MANY_ENDS)
    flags = Counter()
    for response in (response for group in groups for response in group):
        *body, last = response.tokens
        assert not set(body) & set(MANY_ENDS)
        assert response.truncated == (last not in MANY_ENDS)
        assert len(response.tokens) == len(response.logprobs) <= 7
        assert not response.truncated or len(response.tokens) == 7
        flags[response.truncated] += 1
    assert min(flags.values()) > 0
    assert len(flags) == 2


def test_an_end_at_the_last_token_is_no_truncation(model: PreTrainedModel) -> None:
    everything = tuple(range(104))
    groups = sample(model, max_new_tokens=1, eos_token_ids=everything)
    assert not any(response.truncated for group in groups for response in group)


def test_a_seed_decides(model: PreTrainedModel) -> None:
    assert sample(model, seed=3) == sample(model, seed=3)
    assert sample(model, seed=3) != sample(model, seed=4)


def test_samples_of_a_group_differ(model: PreTrainedModel) -> None:
    assert all(len({r.tokens for r in group}) > 1 for group in sample(model))


def test_chunks_hold_every_sample_once_within_the_budget() -> None:
    order = sorted(range(len(PROMPTS)), key=lambda i: len(PROMPTS[i]))
    for budget in (1, 20, 45, 60, 1000):
        chunks = _chunks(order, PROMPTS, num_samples=5, settings=settings(max_batch_tokens=budget))
        counts = Counter[int]()
        for chunk in chunks:
            rows = sum(count for _, count in chunk)
            longest = max(len(PROMPTS[i]) + 7 for i, _ in chunk)
            assert rows == 1 or rows * longest <= budget
            for index, count in chunk:
                counts[index] += count
        assert counts == dict.fromkeys(range(len(PROMPTS)), 5)


def test_the_nucleus_by_hand() -> None:
    probabilities = torch.tensor([[0.125, 0.5, 0.0625, 0.3125]])
    for top_p, kept in (
        (0.4, [1]),
        (0.5, [1]),
        (0.6, [1, 3]),
        (0.9, [0, 1, 3]),
        (0.99, [0, 1, 2, 3]),
    ):
        nucleus = _keep_nucleus(probabilities, top_p)
        assert torch.nonzero(nucleus[0]).flatten().tolist() == kept
        assert torch.equal(nucleus[0, kept], probabilities[0, kept])


def test_only_the_nucleus_is_sampled_and_logprobs_stay_those_of_all_tokens(
    model: PreTrainedModel,
) -> None:
    for prompt, group in zip(PROMPTS, sample(model, num_samples=16, top_p=0.5), strict=True):
        for response in group:
            logprobs = full_logprobs(model, prompt, response)
            for row, token, logprob in zip(
                logprobs, response.tokens, response.logprobs, strict=True
            ):
                more_likely = row[row > row[token]].exp().sum()
                assert more_likely < 0.5 + 1e-5
                assert logprob == pytest.approx(row[token].item(), abs=1e-5)


def test_tokens_follow_the_softmax(model: PreTrainedModel) -> None:
    """Chi-square of first tokens, and of second tokens behind the most frequent first one."""
    prompt = PROMPTS[2]
    (group,) = sample(model, [prompt], num_samples=6000, max_new_tokens=2, temperature=1.5, seed=11)
    first = Counter(response.tokens[0] for response in group)
    assert p_value(model, prompt, first) > 1e-3
    ((common, count),) = first.most_common(1)
    assert count > 200
    second = Counter(r.tokens[1] for r in group if r.tokens[0] == common and len(r.tokens) > 1)
    assert p_value(model, [*prompt, common], second) > 1e-3
    # The test has power: a temperature of 1 is told apart.
    (cold,) = sample(model, [prompt], num_samples=6000, max_new_tokens=1, seed=11)
    assert p_value(model, prompt, Counter(r.tokens[0] for r in cold)) < 1e-6


@torch.no_grad()
def p_value(model: PreTrainedModel, prompt: Sequence[int], counts: Counter[int]) -> float:
    logits = model(input_ids=torch.tensor([prompt]), use_cache=False).logits[0, -1].double()
    probabilities = torch.softmax(logits / 1.5, dim=-1)
    total = sum(counts.values())
    frequent = [i for i in range(len(probabilities)) if probabilities[i] * total >= 5]
    observed = [counts[i] for i in frequent]
    expected = [float(probabilities[i]) * total for i in frequent]
    rest_observed, rest_expected = total - sum(observed), total - sum(expected)
    if rest_expected >= 5:
        observed, expected = [*observed, rest_observed], [*expected, rest_expected]
    else:
        expected = [value * sum(observed) / sum(expected) for value in expected]
    return float(stats.chisquare(observed, expected).pvalue)


def test_drawn_tokens_follow_the_probabilities() -> None:
    probabilities = torch.tensor([[0.0, 3.0, 0.0, 1.0, 4.0, 0.0]]).expand(20_000, -1)
    drawn = draw_tokens(probabilities, seeded_generator("draw", 0))
    counts = torch.bincount(drawn, minlength=6)
    assert counts[[0, 2, 5]].sum() == 0
    expected = torch.tensor([3.0, 1.0, 4.0]) / 8 * 20_000
    assert stats.chisquare(counts[[1, 3, 4]].numpy(), expected.numpy()).pvalue > 1e-3
