"""Log-probs without logits against the slow path: values, gradients, masks, precision, memory."""

import math

import pytest
import torch
from torch.nn.functional import linear
from torch.utils._python_dispatch import TorchDispatchMode

from prorl_nemo.algorithms.linear_logprobs import (
    compute_linear_logprobs,
    compute_linear_logprobs_and_entropy,
)

VOCABULARY = 23
CHUNKS = [1, 5, 23, 100]


def make_layer(dtype=torch.float64, shape=(2, 5), hidden_size=6):
    """Hidden states, weight, bias and tokens."""
    generator = torch.Generator().manual_seed(0)

    def normal(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype)

    tokens = torch.randint(0, VOCABULARY, shape, generator=generator)
    return normal(*shape, hidden_size), normal(VOCABULARY, hidden_size), normal(VOCABULARY), tokens


def slow_logprobs(hidden, weight, bias, tokens, temperature=1.0):
    full = (linear(hidden, weight, bias) / temperature).log_softmax(-1)
    return full.gather(-1, tokens[..., None]).squeeze(-1)


def gradients(values, leaves):
    weights = torch.linspace(-1, 1, values.numel(), dtype=values.dtype).view(values.shape)
    return torch.autograd.grad((weights * values).sum(), leaves)


def assert_equal(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-14)


def test_by_hand():
    # Logits ln 1, ln 2, ln 5: p = 1/8, 2/8, 5/8. At temperature 1/2: 1, 4, 25 of 30.
    weight = torch.tensor([[1.0], [2.0], [5.0]]).double().log()
    arguments = (torch.ones(1, 1).double(), weight, torch.tensor([2]))
    assert compute_linear_logprobs(*arguments, chunk_size=2).exp().item() == pytest.approx(5 / 8)
    cold = compute_linear_logprobs(*arguments, chunk_size=2, temperature=0.5)
    assert cold.exp().item() == pytest.approx(25 / 30)


@pytest.mark.parametrize("chunk_size", CHUNKS)
@pytest.mark.parametrize("temperature", [1.0, 1.2])
@pytest.mark.parametrize("has_bias", [False, True])
def test_values_and_gradients_equal_the_slow_path(chunk_size, temperature, has_bias):
    hidden, weight, bias, tokens = make_layer()
    leaves = [hidden, weight, bias] if has_bias else [hidden, weight]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    bias = bias if has_bias else None
    slow = slow_logprobs(hidden, weight, bias, tokens, temperature)
    fast = compute_linear_logprobs(
        hidden, weight, tokens, bias=bias, temperature=temperature, chunk_size=chunk_size
    )
    assert_equal(fast, slow)
    for actual, expected in zip(gradients(fast, leaves), gradients(slow, leaves), strict=True):
        assert_equal(actual, expected)


def test_gradcheck():
    hidden, weight, bias, tokens = make_layer()
    assert torch.autograd.gradcheck(
        lambda h, w, b: compute_linear_logprobs(
            h, w, tokens, bias=b, temperature=1.2, chunk_size=7
        ),
        [leaf.requires_grad_() for leaf in (hidden, weight, bias)],
    )


@pytest.mark.parametrize("needed", [0, 1])
def test_a_frozen_input_gets_no_gradient_and_leaves_the_other_alone(needed):
    hidden, weight, _, tokens = make_layer()
    leaves = [hidden, weight]
    leaves[needed].requires_grad_()
    fast = compute_linear_logprobs(hidden, weight, tokens, chunk_size=5)
    slow = slow_logprobs(hidden, weight, None, tokens)
    assert_equal(gradients(fast, leaves[needed])[0], gradients(slow, leaves[needed])[0])


@pytest.mark.parametrize("chunk_size", CHUNKS)
def test_entropy_equals_its_definition(chunk_size):
    hidden, weight, bias, tokens = make_layer()
    logprobs, entropy = compute_linear_logprobs_and_entropy(
        hidden.requires_grad_(), weight, tokens, bias=bias, temperature=1.2, chunk_size=chunk_size
    )
    full = (linear(hidden, weight, bias) / 1.2).log_softmax(-1)
    assert_equal(entropy, -(full.exp() * full).sum(-1).detach())
    assert_equal(logprobs, slow_logprobs(hidden, weight, bias, tokens, 1.2).detach())
    assert not entropy.requires_grad


def test_masked_positions_may_hold_anything():
    hidden, weight, _, tokens = make_layer()
    mask = torch.tensor([[True, False, True, True, False], [False, True, True, False, True]])
    clean, spoilt = hidden.clone().requires_grad_(), hidden.clone()
    spoilt[~mask] = math.nan
    tokens = torch.where(mask, tokens, -100)
    leaves = [spoilt.requires_grad_(), weight.requires_grad_()]
    values = compute_linear_logprobs(*leaves, tokens, mask=mask, chunk_size=5)
    expected = slow_logprobs(clean, weight, None, tokens.clamp(min=0)).where(mask, 0.0)
    assert_equal(values, expected)
    incoming = torch.where(mask, torch.ones_like(values), math.nan)
    actual = torch.autograd.grad(values, leaves, incoming)
    slow = torch.autograd.grad(expected.sum(), [clean, weight])
    assert_equal(actual[0], slow[0])
    assert_equal(actual[1], slow[1])
    assert not actual[0][~mask].any()
    entropy = compute_linear_logprobs_and_entropy(*leaves, tokens, mask=mask, chunk_size=5)[1]
    assert entropy[~mask].tolist() == [0.0] * 4
    assert entropy.isfinite().all()


def test_a_bad_number_at_a_used_position_is_not_hidden():
    hidden, weight, _, tokens = make_layer()
    hidden[1, 2, 0] = math.nan
    values = compute_linear_logprobs(hidden, weight, tokens, chunk_size=5)
    assert values.isnan().nonzero().tolist() == [[1, 2]]
    outside = torch.full_like(tokens, VOCABULARY)
    assert compute_linear_logprobs(hidden, weight, outside, chunk_size=5).isnan().all()


@pytest.mark.parametrize("chunk_size", [1, 2, 3])
def test_excluded_tokens_leave_everything_finite(chunk_size):
    # Two tokens of weight 1 behind one that is excluded: entropy ln 2.
    bias = torch.tensor([-math.inf, 0.0, 0.0])
    hidden = torch.ones(1, 2, requires_grad=True)
    weight = torch.zeros(3, 2, requires_grad=True)
    token = torch.tensor([1])
    values = compute_linear_logprobs(hidden, weight, token, bias=bias, chunk_size=chunk_size)
    assert values.item() == pytest.approx(math.log(0.5))
    grad_weight = torch.autograd.grad(values.sum(), weight)[0]
    assert grad_weight.tolist() == [[0.0, 0.0], [0.5, 0.5], [-0.5, -0.5]]
    entropy = compute_linear_logprobs_and_entropy(
        hidden, weight, token, bias=bias, chunk_size=chunk_size
    )[1]
    assert entropy.item() == pytest.approx(math.log(2))


def test_bf16_is_summed_in_fp32():
    # As exact as bf16 logits allow, and its gradients as far from float64's as the slow path's.
    exact = make_layer(shape=(64,), hidden_size=32)
    tokens = exact[3]
    hidden, weight = (leaf.bfloat16().requires_grad_() for leaf in exact[:2])
    fast = compute_linear_logprobs(hidden, weight, tokens, chunk_size=4)
    assert fast.dtype == torch.float32
    slow = linear(hidden, weight).float().log_softmax(-1).gather(-1, tokens[:, None]).squeeze(-1)
    torch.testing.assert_close(fast, slow, rtol=1e-6, atol=1e-6)
    wide = [leaf.detach().double().requires_grad_() for leaf in (hidden, weight)]
    truth = gradients(slow_logprobs(*wide, None, tokens), wide)
    for actual, theirs, expected in zip(
        gradients(fast, [hidden, weight]), gradients(slow, [hidden, weight]), truth, strict=True
    ):
        assert actual.dtype == torch.bfloat16
        ours, full = ((grad.double() - expected).norm() for grad in (actual, theirs))
        assert ours < 1.2 * full


class LargestTensor(TorchDispatchMode):
    """The number of elements of the largest result of any operation, forward and backward."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result._base is None:
            self.elements = max(self.elements, result.numel())
        return result


def test_no_tensor_is_larger_than_a_chunk_of_logits():
    hidden, weight, _, tokens = make_layer(shape=(64,))
    with LargestTensor() as largest:
        values = compute_linear_logprobs(
            hidden.requires_grad_(), weight.requires_grad_(), tokens, chunk_size=8
        )
        values.sum().backward()
    assert largest.elements == 64 * 8  # of 64 * 23


def test_bad_arguments_are_refused():
    hidden, weight, _, tokens = make_layer()
    for arguments, changes, message in [
        ((hidden, weight, tokens[:, 1:]), {}, "tokens"),
        ((hidden[..., 1:], weight, tokens), {}, "does not fit"),
        ((hidden.float(), weight, tokens), {}, "does not fit"),
        ((hidden, weight[0], tokens), {}, "weight must be"),
        ((hidden, weight, tokens), {"temperature": 0.0}, "temperature"),
        ((hidden, weight, tokens), {"chunk_size": 0}, "chunk_size"),
    ]:
        with pytest.raises(ValueError, match=message):
            compute_linear_logprobs(*arguments, **{"chunk_size": 4} | changes)
