"""A fresh start for an optimizer that keeps its master weights.

Moments and step counts go to zero in place, so nothing is reallocated and offloaded state stays
where it is. A moment of zero and a count of zero are what Adam begins with. Works on torch
optimizers and on Megatron-core's, which wrap them (distributed, chained, mixed precision).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.optim import Optimizer

MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")


@torch.no_grad()
def clear_optimizer_state(optimizer: Any) -> int:
    """Zero the moments and step counts of ``optimizer``; returns how many tensors it found."""
    return sum(_clear(inner) for inner in find_torch_optimizers(optimizer))


def find_torch_optimizers(optimizer: Any) -> Iterator[Optimizer]:
    """The torch optimizers inside Megatron-core's wrappers, in order."""
    if hasattr(optimizer, "chained_optimizers"):
        for part in optimizer.chained_optimizers:
            yield from find_torch_optimizers(part)
    elif hasattr(optimizer, "sub_optimizers"):  # parts on the CPU and on the card
        for part in optimizer.sub_optimizers:
            yield from find_torch_optimizers(part)
    elif isinstance(optimizer, Optimizer):
        yield optimizer
    elif getattr(optimizer, "optimizer", None) is not None:
        yield from find_torch_optimizers(optimizer.optimizer)


def refuse_bad_gradients(optimizer: Any) -> None:
    """From now on ``optimizer`` raises FloatingPointError instead of taking a bad gradient in."""
    for inner in find_torch_optimizers(optimizer):
        inner.register_step_pre_hook(_check_gradients)


def _clear(optimizer: Optimizer) -> int:
    count = 0
    for state in optimizer.state.values():
        for name in MOMENTS:
            if torch.is_tensor(state.get(name)):
                state[name].zero_()
                count += 1
        if "step" in state:
            state["step"] = _zero_like(state["step"])
    for group in optimizer.param_groups:  # Transformer Engine and apex count here
        if "step" in group:
            group["step"] = _zero_like(group["step"])
    return count


def _zero_like(step: Any) -> Any:
    return step.zero_() if torch.is_tensor(step) else 0


def _check_gradients(optimizer: Optimizer, *_: Any) -> None:
    gradients = [
        parameter.grad if parameter.grad is not None else getattr(parameter, "decoupled_grad", None)
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    present = [_local(gradient) for gradient in gradients if gradient is not None]
    if not present:
        return
    bad = torch.stack([(~torch.isfinite(gradient)).any() for gradient in present]).any()
    if bool(bad):
        raise FloatingPointError("a gradient is not finite: the optimizer was not called")


def _local(gradient: Any) -> Any:
    return gradient.to_local() if hasattr(gradient, "to_local") else gradient
