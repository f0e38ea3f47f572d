"""Entropy by hand, excluded tokens, and the estimate from sampled tokens."""

import math

import pytest
import torch

from prorl_nemo.algorithms.entropy import compute_entropy, estimate_entropy, masked_mean


def test_entropy_by_hand():
    # Uniform over 4: ln 4. (1/2, 1/4, 1/4): ln 2 / 2 + 2 * (2 ln 2) / 4 = 1.5 ln 2.
    logits = torch.tensor([[1.0, 1.0, 1.0, 1.0], [2.0, 1.0, 1.0, 0.0]]).double().log()
    expected = torch.tensor([math.log(4), 1.5 * math.log(2)]).double()
    torch.testing.assert_close(compute_entropy(logits), expected)


def test_temperature_flattens():
    # Weights 1 and 4; at temperature 2 their square roots 1 and 2: p = 1/3, 2/3.
    logits = torch.tensor([1.0, 4.0]).double().log()
    expected = math.log(3) - (2 / 3) * math.log(2)
    assert compute_entropy(logits, temperature=2.0).item() == pytest.approx(expected)


def test_excluded_tokens_are_safe_in_value_and_gradient():
    logits = torch.tensor([0.0, 1.0, -math.inf], requires_grad=True)
    compute_entropy(logits).backward()
    two = torch.tensor([0.0, 1.0], requires_grad=True)
    compute_entropy(two).backward()
    torch.testing.assert_close(logits.grad, torch.cat([two.grad, torch.zeros(1)]))


def test_gradcheck():
    logits = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(compute_entropy, logits)


def test_estimate_is_unbiased_for_any_sampler():
    p, q = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.2, 0.6]).double()
    estimates = estimate_entropy(p.log(), sampling_logprobs=q.log())
    torch.testing.assert_close((q * estimates).sum(), compute_entropy(p.log()))


def test_masked_mean():
    values = torch.tensor([[1.0, math.nan], [3.0, math.inf]])
    mask = torch.tensor([[1, 0], [1, 0]])
    assert masked_mean(values, mask=mask).item() == 2.0
    assert masked_mean(values, mask=torch.zeros(2, 2)).item() == 0.0


def test_temperature_zero_is_refused():
    with pytest.raises(ValueError, match="temperature"):
        compute_entropy(torch.zeros(2), temperature=0.0)
