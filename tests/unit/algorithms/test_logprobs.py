"""Chunked log-probs against torch's own log_softmax, in value, gradient and memory."""

import math

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from prorl_nemo.algorithms.logprobs import (
    gather_logprobs,
    gather_logprobs_and_entropy,
    gather_next_token_logprobs,
)


def make_logits(dtype=torch.float64, batch=2, length=5, vocab=7):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(batch, length, vocab, generator=generator, dtype=torch.float64)
    tokens = torch.randint(0, vocab, (batch, length), generator=generator)
    return logits.to(dtype), tokens


def reference(logits, tokens, temperature):
    return (logits / temperature).log_softmax(-1).gather(-1, tokens[..., None]).squeeze(-1)


def test_by_hand():
    # Logits ln 1, ln 2, ln 5 sum to 8: p = 1/8, 2/8, 5/8. At temperature 1/2 the logits double:
    # 1, 4, 25 of 30.
    logits = torch.tensor([[[1.0, 2.0, 5.0]]]).double().log()
    token = torch.tensor([[2]])
    assert gather_logprobs(logits, token, chunk_size=1).exp().item() == pytest.approx(5 / 8)
    cold = gather_logprobs(logits, token, chunk_size=1, temperature=0.5)
    assert cold.exp().item() == pytest.approx(25 / 30)


@pytest.mark.parametrize("chunk_size", [1, 2, 5, 100])
@pytest.mark.parametrize("temperature", [1.0, 1.2])
def test_value_and_gradient_equal_log_softmax(chunk_size, temperature):
    logits, tokens = make_logits()
    weights = torch.linspace(-1, 1, 10).double().reshape(2, 5)
    grads = []
    for compute in (
        lambda x: gather_logprobs(x, tokens, chunk_size=chunk_size, temperature=temperature),
        lambda x: reference(x, tokens, temperature),
    ):
        leaf = logits.clone().requires_grad_()
        values = compute(leaf)
        torch.testing.assert_close(values, reference(logits, tokens, temperature))
        grads.append(torch.autograd.grad((weights * values).sum(), leaf)[0])
    torch.testing.assert_close(grads[0], grads[1])


def test_gradcheck():
    logits, tokens = make_logits()
    assert torch.autograd.gradcheck(
        lambda x: gather_logprobs(x, tokens, chunk_size=2, temperature=1.2), logits.requires_grad_()
    )


def test_bf16_logits_are_computed_in_fp32_and_get_a_bf16_gradient():
    logits, tokens = make_logits(torch.bfloat16)
    leaf = logits.clone().requires_grad_()
    values = gather_logprobs(leaf, tokens, chunk_size=2)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, reference(logits.float(), tokens, 1.0))
    values.sum().backward()
    assert leaf.grad.dtype == torch.bfloat16


def test_autograd_keeps_the_logits_and_no_copy_of_them():
    logits, tokens = make_logits(torch.bfloat16, length=64, vocab=50)
    leaf = logits.requires_grad_()
    saved = []
    with saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        gather_logprobs(leaf, tokens, chunk_size=8)
    large = [tensor for tensor in saved if tensor.numel() >= leaf.numel()]
    assert len(large) == 1
    assert large[0].data_ptr() == leaf.data_ptr()


def test_entropy_equals_its_definition():
    logits, tokens = make_logits()
    logprobs, entropy = gather_logprobs_and_entropy(logits, tokens, chunk_size=2, temperature=1.2)
    full = (logits / 1.2).log_softmax(-1)
    torch.testing.assert_close(entropy, -(full.exp() * full).sum(-1))
    torch.testing.assert_close(logprobs, reference(logits, tokens, 1.2))
    assert not entropy.requires_grad


def test_excluded_tokens_leave_entropy_and_gradient_finite():
    # Two tokens of weight 1 and one excluded: entropy ln 2, gradient (1/2, -1/2, 0).
    logits = torch.tensor([[[0.0, 0.0, -math.inf]]], requires_grad=True)
    logprobs, entropy = gather_logprobs_and_entropy(logits, torch.tensor([[0]]), chunk_size=1)
    logprobs.sum().backward()
    assert entropy.item() == pytest.approx(math.log(2))
    assert logits.grad.tolist() == [[[0.5, -0.5, 0.0]]]


def test_next_token_layout():
    # Position t holds the log-prob of token t under the logits at t - 1; column 0 is 0.
    logits, input_ids = make_logits()
    values = gather_next_token_logprobs(logits, input_ids, chunk_size=2)
    expected = reference(logits[:, :-1], input_ids[:, 1:], 1.0)
    torch.testing.assert_close(values[:, 1:], expected)
    assert values[:, 0].tolist() == [0.0, 0.0]


def test_next_token_layout_gives_the_last_logits_no_gradient():
    logits, input_ids = make_logits()
    leaf = logits.requires_grad_()
    gather_next_token_logprobs(leaf, input_ids, chunk_size=2).sum().backward()
    assert not leaf.grad[:, -1].any()
    assert leaf.grad[:, :-1].abs().sum(-1).gt(0).all()


def test_no_graph_without_gradient():
    logits, tokens = make_logits()
    assert not gather_logprobs(logits, tokens, chunk_size=2).requires_grad


def test_bad_arguments_are_refused():
    logits, tokens = make_logits()
    with pytest.raises(ValueError, match="tokens"):
        gather_logprobs(logits, tokens[:, 1:], chunk_size=2)
    with pytest.raises(ValueError, match="temperature"):
        gather_logprobs(logits, tokens, chunk_size=2, temperature=0.0)
    with pytest.raises(ValueError, match="chunk_size"):
        gather_logprobs(logits, tokens, chunk_size=0)
