"""A random batch for the policy loss, and one call of it with gradient."""

from types import SimpleNamespace

import pytest
import torch

from prorl_nemo.algorithms.kl import estimate_k3
from prorl_nemo.algorithms.losses import (
    prorl_loss,
    weigh_samples_equally,
    weigh_tokens_equally,
)

PARAMETERS = {
    "importance_weights": None,
    "ratio_clip_min": 0.2,
    "ratio_clip_max": 0.4,
    "ratio_clip_c": None,
    "kl_penalty": 0.0,
    "kl_estimator": estimate_k3,
    "kl_sampling_logprobs": None,
}


def token_level(count):
    return {"weigh": weigh_tokens_equally, "global_count": count}


def sequence_level(count):
    return {"weigh": weigh_samples_equally, "global_count": count}


def make_batch(seed=0, num_samples=6, length=9):
    """A random float64 batch with every input the loss takes; ratios well beyond the clip."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    shape = (num_samples, length)
    prev = -normal(*shape).abs()
    token_mask = torch.rand(shape, generator=generator) > 0.3
    token_mask[:, 0] = False
    sample_mask = torch.ones(num_samples)
    sample_mask[1] = 0
    return {
        "curr_logprobs": prev + 0.4 * normal(*shape),
        "prev_logprobs": prev,
        "reference_policy_logprobs": prev + 0.3 * normal(*shape),
        "advantages": normal(num_samples),
        "token_mask": token_mask,
        "sample_mask": sample_mask,
        "importance_weights": normal(*shape).abs(),
        "kl_sampling_logprobs": prev + 0.1 * normal(*shape),
    }


def run(batch, **changes):
    """Loss and gradient with respect to curr_logprobs."""
    arguments = PARAMETERS | {"kl_penalty": 0.1} | batch | changes
    curr = arguments.pop("curr_logprobs").clone().requires_grad_()
    result = prorl_loss(curr_logprobs=curr, **arguments)
    (grad,) = torch.autograd.grad(result.loss, curr)
    return result, grad


def valid(batch):
    """[B, S] bool: the tokens that count."""
    return batch["token_mask"] & batch["sample_mask"].bool()[:, None]


@pytest.fixture
def policy_loss():
    """The functions and settings above, under one name."""
    return SimpleNamespace(
        parameters=PARAMETERS,
        token_level=token_level,
        sequence_level=sequence_level,
        make_batch=make_batch,
        run=run,
        valid=valid,
    )
