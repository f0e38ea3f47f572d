"""Linear layers in FP8: Transformer Engine's on a GPU, their rounding emulated on a CPU.

The emulation is for trying the logic of a benchmark without a GPU; it says nothing about speed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

LARGEST = 448.0  # of e4m3
_is_on = False


@dataclass(frozen=True)
class Fp8:
    """A way to compute linear layers in FP8."""

    recipe: str
    make_linear: Callable[..., nn.Module]
    context: Callable[[], Any]


def find_fp8() -> Fp8 | None:
    """Transformer Engine's FP8, blockwise scaling where it is there."""
    try:
        import transformer_engine.pytorch as te
        from transformer_engine.common import recipe
    except ImportError:
        return None
    scaling = getattr(recipe, "Float8BlockScaling", recipe.DelayedScaling)()
    make_linear = partial(te.Linear, params_dtype=torch.bfloat16)
    return Fp8(
        type(scaling).__name__,
        make_linear,
        lambda: te.fp8_autocast(enabled=True, fp8_recipe=scaling),
    )


def replace_linears(model: nn.Module, make_linear: Callable[..., nn.Module]) -> nn.Module:
    """The decoder's linear layers as FP8's, with the same weights."""
    for parent in list(model.model.layers.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                has_bias = child.bias is not None
                linear = make_linear(child.in_features, child.out_features, bias=has_bias)
                linear.load_state_dict(child.state_dict(), strict=False)
                setattr(parent, name, linear.to(child.weight))
    return model


@contextmanager
def emulated_fp8() -> Iterator[None]:
    """Linear layers round their operands while it is open, as under ``fp8_autocast``."""
    global _is_on
    before, _is_on = _is_on, True
    yield
    _is_on = before


class EmulatedFp8Linear(nn.Linear):
    """nn.Linear with both operands rounded to e4m3 under one scale each."""

    def forward(self, values: Tensor) -> Tensor:
        if not _is_on:
            return super().forward(values)
        return nn.functional.linear(_rounded(values), _rounded(self.weight), self.bias)


def _rounded(values: Tensor) -> Tensor:
    scale = LARGEST / values.detach().abs().amax().clamp(min=1e-12)
    rounded = (values.detach() * scale).to(torch.float8_e4m3fn).to(values.dtype) / scale
    return values + (rounded - values.detach())


EMULATED = Fp8("emulated", EmulatedFp8Linear, emulated_fp8)
