"""The policy loss against numbers worked by hand, and the meaning of its settings."""

import math

import pytest
import torch

from prorl_nemo.algorithms.kl import estimate_k3
from prorl_nemo.algorithms.losses import (
    compute_clipped_policy_loss,
    compute_sequence_ratios,
    prorl_loss,
)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        # Loss is -min(r A, clip(r, 0.8, 1.4) A); slope is d loss / d r: -A or, clipped, 0.
        (1.0, 2.0, -2.0, -2.0),
        (1.5, 2.0, -2.8, 0.0),  # clipped high: -(1.4 * 2)
        (1.5, -2.0, 3.0, 2.0),  # min picks the unclipped -3: pessimistic
        (0.5, -2.0, 1.6, 0.0),  # clipped low: -(0.8 * -2)
        (0.5, 2.0, -1.0, -2.0),  # min picks the unclipped 1
        (1.4, 2.0, -2.8, -2.0),  # on the bound: not yet clipped
        (0.8, -2.0, 1.6, 2.0),
        (1.3, 2.0, -2.6, -2.0),  # beyond 1.2, within 1.4: the decoupled clip leaves it
    ],
)
def test_clip_by_hand(ratio, advantage, loss, slope):
    ratios = torch.tensor([[ratio]], dtype=torch.float64, requires_grad=True)
    values = compute_clipped_policy_loss(
        ratios,
        advantages=torch.tensor([[advantage]]).double(),
        ratio_clip_min=0.2,
        ratio_clip_max=0.4,
    )
    assert values.item() == pytest.approx(loss)
    assert torch.autograd.grad(values.sum(), ratios)[0].item() == pytest.approx(slope)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss"),
    [
        (5.0, -1.0, 3.0),  # -r A = 5 exceeds -c A = 3
        (2.0, -1.0, 2.0),  # below c
        (5.0, 1.0, -1.4),  # A > 0: the ordinary clip
        (0.5, -1.0, 0.8),
    ],
)
def test_dual_clip_by_hand(ratio, advantage, loss):
    values = compute_clipped_policy_loss(
        torch.tensor([[ratio]]),
        advantages=torch.tensor([[advantage]]),
        ratio_clip_min=0.2,
        ratio_clip_max=0.4,
        ratio_clip_c=3.0,
    )
    assert values.item() == pytest.approx(loss)


def sum_of(policy_loss, values, masks, level):
    """The share of ``values``: with ratio 1 the loss of a token is -A."""
    zeros = torch.zeros_like(values)
    inputs = {"curr_logprobs": zeros, "prev_logprobs": zeros, "reference_policy_logprobs": zeros}
    batch = inputs | masks | {"advantages": -values}
    return prorl_loss(**policy_loss.parameters | batch | level).loss.item()


def test_token_and_sequence_level_by_hand(policy_loss):
    # Row 0: 1 + 2 + 3 (mean 2); row 1: 10 (mean 10); row 2 does not count.
    values = torch.tensor([[1.0, 2.0, 3.0], [10.0, 99.0, 99.0], [7.0, 7.0, 7.0]])
    masks = {
        "token_mask": torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 1]]),
        "sample_mask": torch.tensor([1.0, 1.0, 0.0]),
    }
    assert sum_of(policy_loss, values, masks, policy_loss.token_level(4)) == 16 / 4
    by_sample = sum_of(policy_loss, values, masks, policy_loss.sequence_level(2))
    assert by_sample == pytest.approx((2 + 10) / 2)


def test_a_sample_without_tokens_adds_nothing_to_the_sequence_mean(policy_loss):
    masks = {"token_mask": torch.tensor([[1, 1], [0, 0]]), "sample_mask": torch.ones(2)}
    values = torch.tensor([[2.0, 4.0], [math.nan, math.nan]])
    assert sum_of(policy_loss, values, masks, policy_loss.sequence_level(2)) == 3 / 2


def test_prorl_loss_by_hand(policy_loss):
    # Two samples, A = 1 and -1, valid tokens with ratios 2 | 1/2, 1 (each over prev = 1/4).
    # Policy: -min(2, 1.4) = -1.4 | -min(-1/2, -0.8) = 0.8, 1. Sum 0.4, / 3 tokens.
    # KL k3 against a reference of 1/4: d = -ln 2 | ln 2, 0:
    #   1/2 - 1 + ln 2 | 2 - 1 - ln 2 | 0. Sum 1/2, / 3 tokens; penalty 0.6 adds 0.1.
    curr = torch.tensor([[9.0, 0.5, 9.0], [9.0, 0.125, 0.25]]).double().log()
    quarter = torch.full((2, 3), 0.25).double().log()
    result = prorl_loss(
        **policy_loss.parameters
        | {
            "curr_logprobs": curr,
            "prev_logprobs": quarter,
            "reference_policy_logprobs": quarter,
            "advantages": torch.tensor([1.0, -1.0]).double(),
            "token_mask": torch.tensor([[0, 1, 0], [0, 1, 1]]),
            "sample_mask": torch.ones(2),
            "kl_penalty": 0.6,
            **policy_loss.token_level(3),
        }
    )
    assert result.policy_loss.item() == pytest.approx(0.4 / 3)
    assert result.kl.item() == pytest.approx(0.5 / 3)
    assert result.loss.item() == pytest.approx(0.4 / 3 + 0.1)
    assert result.clip_fraction_high.item() == pytest.approx(1 / 3)
    assert result.clip_fraction_low.item() == pytest.approx(1 / 3)
    assert result.ratio_mean.item() == pytest.approx((2 + 0.5 + 1) / 3)
    assert result.ratio_min.item() == pytest.approx(0.5)
    assert result.ratio_max.item() == pytest.approx(2.0)


def test_first_update_is_plain_policy_gradient(policy_loss):
    # Ratio 1 everywhere: d loss / d logprob = -A / N, and nothing is clipped.
    batch = policy_loss.make_batch() | {"importance_weights": None}
    batch["prev_logprobs"] = batch["curr_logprobs"]
    count = policy_loss.valid(batch).sum()
    result, grad = policy_loss.run(batch, kl_penalty=0.0, **policy_loss.token_level(count))
    mask = policy_loss.valid(batch)
    expected = torch.where(mask, -batch["advantages"][:, None] / count, 0.0)
    torch.testing.assert_close(grad, expected)
    assert result.clip_fraction_low.item() == result.clip_fraction_high.item() == 0
    assert result.ratio_mean.item() == pytest.approx(1)


def test_without_penalty_the_kl_is_measured_and_leaves_the_gradient_alone(policy_loss):
    batch = policy_loss.make_batch()
    level = policy_loss.token_level(policy_loss.valid(batch).sum())
    measured, grad = policy_loss.run(batch, kl_penalty=0.0, **level)
    without, plain_grad = policy_loss.run(
        batch, kl_penalty=0.0, reference_policy_logprobs=None, **level
    )
    assert measured.kl > 0
    assert without.kl == 0
    assert torch.equal(grad, plain_grad)
    assert torch.equal(measured.loss, without.loss)


def test_kl_is_zero_when_the_policy_is_the_reference(policy_loss):
    batch = policy_loss.make_batch()
    batch["reference_policy_logprobs"] = batch["curr_logprobs"].clone()
    result, _ = policy_loss.run(batch, **policy_loss.token_level(10))
    assert result.kl.item() == 0.0


def test_score_function_weighting_adds_the_kl_itself_to_the_gradient(policy_loss):
    # exp(x - x.detach()) has value 1, so the loss is unchanged; d/dx adds penalty * k3 / N.
    batch = policy_loss.make_batch() | {"kl_sampling_logprobs": None}
    count = policy_loss.valid(batch).sum()
    plain, plain_grad = policy_loss.run(batch, **policy_loss.token_level(count))
    weighted, grad = policy_loss.run(
        batch, **policy_loss.token_level(count), kl_sampling_logprobs=batch["curr_logprobs"]
    )
    torch.testing.assert_close(plain.loss, weighted.loss)
    mask = policy_loss.valid(batch)
    k3 = estimate_k3(batch["curr_logprobs"], batch["reference_policy_logprobs"])
    torch.testing.assert_close(grad - plain_grad, torch.where(mask, 0.1 * k3 / count, 0.0))


def test_importance_weights_scale_the_policy_loss_only(policy_loss):
    batch = policy_loss.make_batch() | {"importance_weights": None}
    level = policy_loss.token_level(10)
    once, _ = policy_loss.run(batch, **level)
    weights = torch.full_like(batch["prev_logprobs"], 2.0)
    twice, _ = policy_loss.run(batch, **level, importance_weights=weights)
    torch.testing.assert_close(twice.policy_loss, 2 * once.policy_loss)
    torch.testing.assert_close(twice.kl, once.kl)


def test_sequence_ratios_by_hand():
    # Ratios 4 and 1 are valid: geometric mean 2. The 100 is masked. An empty row has ratio 1.
    curr = torch.tensor([[4.0, 1.0, 100.0], [5.0, 5.0, 5.0]]).double().log()
    mask = torch.tensor([[True, True, False], [False, False, False]])
    ratios = compute_sequence_ratios(curr, torch.zeros_like(curr), mask)
    torch.testing.assert_close(ratios, torch.tensor([[2.0] * 3, [1.0] * 3]).double())


def test_infinite_bounds_do_not_clip(policy_loss):
    batch = policy_loss.make_batch() | {"importance_weights": None}
    result, _ = policy_loss.run(
        batch,
        kl_penalty=0.0,
        **policy_loss.token_level(1),
        ratio_clip_min=math.inf,
        ratio_clip_max=math.inf,
    )
    mask = policy_loss.valid(batch)
    ratios = (batch["curr_logprobs"] - batch["prev_logprobs"]).exp()
    expected = -(ratios * batch["advantages"][:, None])[mask].sum()
    torch.testing.assert_close(result.policy_loss, expected)
    assert result.clip_fraction_high.item() == result.clip_fraction_low.item() == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference_policy_logprobs": None}, "reference_policy_logprobs"),
        ({"ratio_clip_min": -0.1}, "clip bounds"),
        ({"ratio_clip_max": math.nan}, "clip bounds"),
        ({"ratio_clip_c": 1.0}, "ratio_clip_c"),
    ],
)
def test_bad_settings_are_refused(policy_loss, changes, message):
    with pytest.raises(ValueError, match=message):
        policy_loss.run(policy_loss.make_batch(), **policy_loss.token_level(10), **changes)
