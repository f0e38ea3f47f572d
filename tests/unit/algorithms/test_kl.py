"""KL estimators: values by hand, clamps, and what the estimators estimate."""

import math

import pytest
import torch

from prorl_nemo.algorithms.kl import (
    compute_kl_importance_weights,
    estimate_k1,
    estimate_k2,
    estimate_k3,
)

ESTIMATORS = [estimate_k1, estimate_k2, estimate_k3]
LN2 = math.log(2)


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [
        # pi = 1/2, pi_ref = 1/4: d = log(1/4) - log(1/2) = -ln 2.
        (estimate_k1, LN2),
        (estimate_k2, LN2**2 / 2),
        (estimate_k3, 0.5 - 1 + LN2),
    ],
)
def test_values_by_hand(estimate, expected):
    value = estimate(torch.tensor([[0.5]]).double().log(), torch.tensor([[0.25]]).double().log())
    assert value.item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_equal_policies_have_kl_zero(estimate):
    logprobs = torch.tensor([[-0.1, -3.0, -20.0]])
    assert not estimate(logprobs, logprobs.clone()).any()


@pytest.mark.parametrize("estimate", [estimate_k1, estimate_k3])
def test_k1_and_k3_are_unbiased(estimate):
    # Expectation over all three tokens under pi, exactly, against sum p log(p / q).
    p, q = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.2, 0.6]).double()
    exact = (p * (p / q).log()).sum()
    torch.testing.assert_close((p * estimate(p.log(), q.log())).sum(), exact)


def test_k2_has_the_gradient_of_the_kl():
    # With samples drawn from pi, E[grad k2] = grad KL; the mean of k2 itself is not the KL.
    logits = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64, requires_grad=True)
    q = torch.tensor([0.2, 0.2, 0.6]).double()
    logp = logits.log_softmax(-1)
    (exact,) = torch.autograd.grad((logp.exp() * (logp - q.log())).sum(), logits, retain_graph=True)
    (estimate,) = torch.autograd.grad(
        (logp.exp().detach() * estimate_k2(logp, q.log())).sum(), logits
    )
    torch.testing.assert_close(estimate, exact)


@pytest.mark.parametrize("estimate", [estimate_k1, estimate_k3])
def test_score_function_weights_restore_the_gradient_of_the_kl(estimate):
    logits = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64, requires_grad=True)
    q = torch.tensor([0.2, 0.2, 0.6]).double()
    logp = logits.log_softmax(-1)
    (exact,) = torch.autograd.grad((logp.exp() * (logp - q.log())).sum(), logits, retain_graph=True)
    for is_weighted in (True, False):
        weights = compute_kl_importance_weights(logp, sampling_logprobs=logp.detach())
        values = estimate(logp, q.log(), importance_weights=weights if is_weighted else None)
        (grad,) = torch.autograd.grad(
            (logp.exp().detach() * values).sum(), logits, retain_graph=True
        )
        assert torch.allclose(grad, exact, atol=1e-12) == is_weighted


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_input_clamp_limits_the_log_ratio_and_silences_gradients(estimate):
    logprobs = torch.tensor([[-1.0, -1.0, -1.0]], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([[-31.0, 29.0, -1.5]], dtype=torch.float64)  # d = -30, 30, -0.5
    at_limit = torch.tensor([[-11.0, 9.0, -1.5]], dtype=torch.float64)  # d = -10, 10, -0.5
    weights = compute_kl_importance_weights(logprobs, sampling_logprobs=logprobs.detach())
    values = estimate(logprobs, reference, importance_weights=weights, input_clamp=10.0)
    torch.testing.assert_close(values, estimate(logprobs, at_limit))
    (grad,) = torch.autograd.grad(values.sum(), logprobs)
    assert grad[0, :2].tolist() == [0.0, 0.0]
    assert grad[0, 2] != 0


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_output_clamp_acts_after_the_weights(estimate):
    # pi = 1/2, pi_ref = 1/4, weight 100: far beyond 1 after weighting, below 1 before.
    values = estimate(
        torch.tensor([[0.5]]).log(),
        torch.tensor([[0.25]]).log(),
        importance_weights=torch.tensor([[100.0]]),
        output_clamp=1.0,
    )
    assert values.tolist() == [[1.0]]


def test_output_clamp_has_a_lower_side_for_k1():
    values = estimate_k1(torch.tensor([[-9.0]]), torch.tensor([[-1.0]]), output_clamp=5.0)
    assert values.tolist() == [[-5.0]]


def test_importance_weights_correct_for_the_sampler():
    # pi = 0.6, sampler 0.3: weight 2, with gradient d/dlogp exp(logp - c) = 2.
    logprobs = torch.tensor([[0.6]], dtype=torch.float64).log().requires_grad_()
    sampling = torch.tensor([[0.3]], dtype=torch.float64).log()
    weights = compute_kl_importance_weights(logprobs, sampling_logprobs=sampling)
    assert weights.item() == pytest.approx(2.0)
    (grad,) = torch.autograd.grad(weights.sum(), logprobs)
    assert grad.item() == pytest.approx(2.0)


def test_infinite_importance_weights_become_zero():
    weights = compute_kl_importance_weights(
        torch.tensor([0.0, -math.inf]), sampling_logprobs=torch.tensor([-math.inf, -math.inf])
    )
    assert weights.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_gradients(estimate):
    logprobs = -torch.rand(2, 3, dtype=torch.float64) - 0.1
    reference = -torch.rand(2, 3, dtype=torch.float64) - 0.1
    assert torch.autograd.gradcheck(
        lambda x: estimate(x, reference, input_clamp=20.0, output_clamp=10.0),
        logprobs.requires_grad_(),
    )
