"""The reference policy's weights: on disk, in the policy's place while it computes log-probs.

No second model is held. The file a reset has pinned is mapped, so its pages belong to the
operating system; for a forward pass they are copied to the device, which then holds neither
gradients nor activations, and dropped behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from prorl_nemo.engines.local.model import WEIGHTS_FILE


class ReferenceWeights:
    """Weights by the names of the policy's parameters."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights

    @classmethod
    def pinned(cls, directory: Path) -> ReferenceWeights:
        """Those that ``model.save_weights`` wrote; the file may be removed, but not written to."""
        return cls(load_file(directory / WEIGHTS_FILE))

    @classmethod
    def of_base(cls, model: nn.Module, where: str) -> ReferenceWeights:
        """Those of ``model`` as it is now, loaded from ``where``.

        A base model in another precision, in shards or on a hub can't be mapped; the host then
        holds a copy, until the first reset.
        """
        parameters = dict(model.named_parameters())
        path = Path(where).expanduser()
        if (path / WEIGHTS_FILE).is_file():
            mapped = cls.pinned(path)
            if mapped.are_those_of(model):
                return mapped
        return cls({name: p.detach().to("cpu", copy=True) for name, p in parameters.items()})

    def are_those_of(self, model: nn.Module) -> bool:
        """Whether every parameter of ``model`` has these bits."""
        return all(
            name in self._weights
            and self._weights[name].dtype == parameter.dtype
            and torch.equal(self._weights[name], parameter.detach().cpu())
            for name, parameter in model.named_parameters()
        )

    @contextmanager
    def in_place_of(self, policy: nn.Module) -> Iterator[None]:
        """``policy`` computes with these weights while this is open; no gradients meanwhile.

        They are copied out of the mapped file, whose alignment differs and with it the rounding
        of products, and stay behind the policy's own parameters, which require gradients: torch
        then takes the kernels that the policy gets, and equal weights give equal bits.
        """
        parameters = dict(policy.named_parameters())
        own = {name: parameter.data for name, parameter in parameters.items()}
        try:
            with torch.no_grad():
                for name, parameter in parameters.items():
                    parameter.data = self._weights[name].to(parameter.device, copy=True)
                yield
        finally:
            for name, parameter in parameters.items():
                parameter.data = own[name]
