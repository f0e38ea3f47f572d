"""Clearing an optimizer, hashing weights, and what a reset checks on all workers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from prorl_nemo.engines.nemo.optimizer_state import (
    clear_optimizer_state,
    find_torch_optimizers,
    refuse_bad_gradients,
)
from prorl_nemo.engines.nemo.reference import StateDigest, check_digests
from prorl_nemo.engines.nemo.state_digest import digest_state


def step(model: nn.Linear, optimizer: torch.optim.Optimizer, seed: int) -> None:
    optimizer.zero_grad()
    model(
        torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))
    ).square().mean().backward()
    optimizer.step()


def make(seed: int = 0) -> tuple[nn.Linear, torch.optim.AdamW]:
    torch.manual_seed(seed)
    model = nn.Linear(3, 2)
    return model, torch.optim.AdamW(model.parameters(), lr=0.1)


def test_a_cleared_optimizer_steps_like_a_new_one() -> None:
    model, optimizer = make()
    for seed in range(3):
        step(model, optimizer, seed)
    twin, _ = make()
    twin.load_state_dict(model.state_dict())
    fresh = torch.optim.AdamW(twin.parameters(), lr=0.1)
    kept = [parameter.detach().clone() for parameter in model.parameters()]
    assert clear_optimizer_state(optimizer) == 4  # two moments of weight and bias
    assert all(torch.equal(a, b) for a, b in zip(kept, model.parameters(), strict=True))
    step(model, optimizer, 7)
    step(twin, fresh, 7)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True)
    )


def test_without_clearing_it_does_not() -> None:
    model, optimizer = make()
    for seed in range(3):
        step(model, optimizer, seed)
    twin, _ = make()
    twin.load_state_dict(model.state_dict())
    step(model, optimizer, 7)
    step(twin, torch.optim.AdamW(twin.parameters(), lr=0.1), 7)
    assert not torch.equal(model.weight, twin.weight)


def test_wrappers_are_opened_and_group_counters_reset() -> None:
    _, first = make()
    _, second = make(1)
    first.param_groups[0]["step"] = 12
    chained = SimpleNamespace(
        chained_optimizers=[
            SimpleNamespace(optimizer=first),
            SimpleNamespace(optimizer=SimpleNamespace(sub_optimizers=[second])),
            SimpleNamespace(optimizer=None),
        ]
    )
    assert list(find_torch_optimizers(chained)) == [first, second]
    clear_optimizer_state(chained)
    assert first.param_groups[0]["step"] == 0


def test_a_bad_gradient_never_reaches_the_weights() -> None:
    model, optimizer = make()
    refuse_bad_gradients(optimizer)
    step(model, optimizer, 0)
    before = model.weight.detach().clone()
    model.weight.grad = torch.full_like(model.weight, torch.nan)
    with pytest.raises(FloatingPointError, match="the optimizer was not called"):
        optimizer.step()
    assert torch.equal(model.weight, before)


def test_a_digest_sees_every_bit_and_not_the_order() -> None:
    state = {"a": torch.tensor([1.0, 2.0]), "b.bias": torch.zeros(3, dtype=torch.bfloat16)}
    same = {"b.bias": torch.zeros(3, dtype=torch.bfloat16), "a": torch.tensor([1.0, 2.0])}
    assert digest_state(state) == digest_state(same)
    changed = [
        {**state, "a": torch.tensor([1.0, 2.0000002])},
        {**state, "a": torch.tensor([[1.0, 2.0]])},
        {**state, "b.bias": torch.zeros(3)},
        {**state, "c": torch.zeros(1)},
        {**state, "a._extra_state": torch.ones(2)},
    ]
    assert len({digest_state(other) for other in [state, *changed]}) == 1 + len(changed)
    assert digest_state(changed[-1], with_extra_state=False) == digest_state(state)


def digest(shard: int, policy: str, reference: str | None) -> StateDigest:
    return StateDigest((shard,), policy, reference)


def test_workers_that_agree_pass() -> None:
    check_digests(
        [digest(0, "x", "x"), digest(0, "x", "x"), digest(1, "y", "y")], expect_policy=True
    )


@pytest.mark.parametrize(
    ("digests", "expect_policy", "message"),
    [
        ([digest(0, "x", "x"), digest(0, "x", "z")], False, "loaded different references"),
        ([digest(0, "x", "z")], True, "differs from the policy"),
        ([digest(0, "x", None)], False, "has no reference"),
    ],
)
def test_workers_that_do_not_agree_stop_the_run(
    digests: list[StateDigest], expect_policy: bool, message: str
) -> None:
    with pytest.raises(RuntimeError, match=message):
        check_digests(digests, expect_policy=expect_policy)
