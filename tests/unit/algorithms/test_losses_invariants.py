"""What holds for every batch: sums over microbatches, masks, gradients."""

import dataclasses
import math

import pytest
import torch

from prorl_nemo.algorithms.kl import estimate_k2, estimate_k3
from prorl_nemo.algorithms.losses import compute_sequence_ratios, prorl_loss


@pytest.mark.parametrize("estimator", [estimate_k2, estimate_k3])
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_microbatches_add_up_to_the_full_batch(policy_loss, level, estimator):
    batch = policy_loss.make_batch()
    num_samples = batch["sample_mask"].sum()
    aggregate = {
        "token": policy_loss.token_level(policy_loss.valid(batch).sum()),
        "sequence": policy_loss.sequence_level(num_samples),
    }
    changes = {**aggregate[level], "kl_estimator": estimator}
    whole, whole_grad = policy_loss.run(batch, **changes)
    slices = (slice(0, 1), slice(1, 4), slice(4, 6))
    parts = [policy_loss.run({k: v[rows] for k, v in batch.items()}, **changes) for rows in slices]
    torch.testing.assert_close(torch.cat([grad for _, grad in parts]), whole_grad)
    for field in dataclasses.fields(whole):
        values = torch.stack([getattr(part, field.name).detach() for part, _ in parts])
        combine = {"ratio_min": torch.amin, "ratio_max": torch.amax}.get(field.name, torch.sum)
        torch.testing.assert_close(combine(values), getattr(whole, field.name).detach())


TOKEN_INPUTS = [
    "curr_logprobs",
    "prev_logprobs",
    "reference_policy_logprobs",
    "importance_weights",
    "kl_sampling_logprobs",
    "advantages",
]


@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("compute_ratios", [None, compute_sequence_ratios])
def test_junk_under_the_mask_touches_neither_value_nor_gradient(policy_loss, junk, compute_ratios):
    batch = policy_loss.make_batch()
    batch["advantages"] = batch["advantages"][:, None].expand(6, 9)
    changes = {**policy_loss.token_level(policy_loss.valid(batch).sum())}
    if compute_ratios is not None:
        changes["compute_ratios"] = compute_ratios
    clean, clean_grad = policy_loss.run(batch, **changes)
    mask = policy_loss.valid(batch)
    spoilt = {name: torch.where(mask, batch[name], junk) for name in TOKEN_INPUTS}
    with torch.autograd.set_detect_anomaly(True):  # nor any step of the backward pass
        result, grad = policy_loss.run(batch | spoilt, **changes)
    assert torch.equal(grad, clean_grad)
    for field in dataclasses.fields(clean):
        assert torch.equal(getattr(result, field.name), getattr(clean, field.name)), field.name


@pytest.mark.parametrize("name", [*TOKEN_INPUTS[:4], "advantages"])
def test_junk_at_a_valid_token_is_not_hidden(policy_loss, name):
    batch = policy_loss.make_batch()
    batch["advantages"] = batch["advantages"][:, None].expand(6, 9).clone()
    row, column = policy_loss.valid(batch).nonzero()[0]
    batch[name][row, column] = math.nan
    result, _ = policy_loss.run(batch, **policy_loss.token_level(10), kl_sampling_logprobs=None)
    assert result.loss.isnan()


def test_gradient_against_finite_differences(policy_loss):
    # Policy term with dual clip, importance weights and weighted KL, all at once.
    batch = policy_loss.make_batch(seed=3)
    arguments = policy_loss.parameters | batch | {"kl_penalty": 0.1, "ratio_clip_c": 3.0}
    curr = arguments.pop("curr_logprobs").requires_grad_()
    level = policy_loss.token_level(policy_loss.valid(batch).sum())

    def loss(x):
        return prorl_loss(curr_logprobs=x, **level, **arguments).loss

    assert torch.autograd.gradcheck(loss, curr)


def test_only_the_loss_carries_a_gradient(policy_loss):
    batch = policy_loss.make_batch()
    result, _ = policy_loss.run(batch, **policy_loss.token_level(10))
    others = [f.name for f in dataclasses.fields(result) if f.name != "loss"]
    assert not any(getattr(result, name).requires_grad for name in others)


def test_only_the_current_policy_gets_a_gradient(policy_loss):
    batch = policy_loss.make_batch()
    arguments = policy_loss.parameters | batch | {"kl_penalty": 0.1}
    leaves = {name: arguments[name].clone().requires_grad_() for name in TOKEN_INPUTS[:5]}
    level = policy_loss.token_level(10)
    prorl_loss(**arguments | leaves, **level).loss.backward()
    assert [name for name, leaf in leaves.items() if leaf.grad is not None] == ["curr_logprobs"]


def test_advantages_per_sample_equal_the_same_per_token(policy_loss):
    batch = policy_loss.make_batch()
    per_token = batch | {"advantages": batch["advantages"][:, None].expand(6, 9)}
    level = policy_loss.token_level(10)
    (a, grad_a), (b, grad_b) = (
        policy_loss.run(batch, **level),
        policy_loss.run(per_token, **level),
    )
    assert torch.equal(a.loss, b.loss)
    assert torch.equal(grad_a, grad_b)


def test_a_microbatch_without_valid_tokens_adds_nothing(policy_loss):
    batch = policy_loss.make_batch() | {"sample_mask": torch.zeros(6)}
    result, grad = policy_loss.run(batch, **policy_loss.token_level(10))
    assert result.loss.item() == 0.0
    assert not grad.any()
    assert (result.ratio_min.item(), result.ratio_max.item()) == (math.inf, -math.inf)


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_nothing_is_read_back_from_the_device(policy_loss, level):
    # A meta tensor has no numbers: .item(), a branch on a value or boolean indexing would raise.
    batch = {name: value.to("meta") for name, value in policy_loss.make_batch().items()}
    count = torch.ones((), device="meta")
    aggregate = {"token": policy_loss.token_level, "sequence": policy_loss.sequence_level}[level]
    result, grad = policy_loss.run(batch, **aggregate(count), ratio_clip_c=3.0)
    assert result.loss.is_meta
    assert grad.is_meta
    with pytest.raises(RuntimeError, match="meta"):
        result.loss.item()
