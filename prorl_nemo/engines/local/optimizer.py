"""AdamW with a warmed-up constant learning rate, saved without pickle."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from prorl_nemo.config import OptimizerConfig

OPTIMIZER_FILE = "optimizer.safetensors"


class WarmedAdamW:
    """AdamW over a model's parameters, by name; ``num_updates`` counts since the last clearing."""

    def __init__(self, model: nn.Module, config: OptimizerConfig, *, max_grad_norm: float) -> None:
        self._model = model
        self._config = config
        self._max_grad_norm = max_grad_norm
        self.clear()

    def clear(self) -> None:
        """Forget the moments and start the warm-up again."""
        config, device = self._config, next(self._model.parameters()).device
        self._adamw = torch.optim.AdamW(
            self._model.parameters(),
            lr=config.lr,
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
            # One pass over memory instead of ten. On CUDA torch chooses.
            fused=True if device.type == "cpu" else None,
        )
        self.num_updates = 0

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next update."""
        warmup = self._config.warmup_updates
        return self._config.lr * min(1.0, (self.num_updates + 1) / (warmup + 1))

    def update(self, *, loss: float) -> float:
        """Clip, check, step and drop the gradients; returns the norm before clipping.

        Raises FloatingPointError, with the weights untouched, when loss or norm is not finite.
        """
        norm = float(nn.utils.clip_grad_norm_(self._model.parameters(), self._max_grad_norm))
        if not torch.isfinite(torch.tensor([loss, norm])).all():
            raise FloatingPointError(f"loss {loss:g}, gradient norm {norm:g}: not finite")
        self._adamw.param_groups[0]["lr"] = self.learning_rate
        self._adamw.step()
        self._adamw.zero_grad(set_to_none=True)
        self.num_updates += 1
        return norm

    def save(self, directory: Path) -> None:
        """Write the moments; raises OSError on a full disk."""
        tensors: dict[str, Tensor] = {"num_updates": torch.tensor(self.num_updates)}
        for name, parameter in self._model.named_parameters():
            for key, value in self._adamw.state.get(parameter, {}).items():
                tensors[f"{key}/{name}"] = value.contiguous()
        try:
            save_file(tensors, directory / OPTIMIZER_FILE)
        except SafetensorError as error:
            raise OSError(f"{directory}: can't write the optimizer: {error}") from None

    def load(self, directory: Path) -> None:
        """Restore what ``save`` wrote."""
        self.clear()
        tensors = load_file(directory / OPTIMIZER_FILE)
        self.num_updates = int(tensors.pop("num_updates"))
        parameters = dict(self._model.named_parameters())
        for key, value in tensors.items():
            kind, _, name = key.partition("/")
            parameter = parameters[name]
            device = "cpu" if kind == "step" else parameter.device
            self._adamw.state[parameter][kind] = value.to(device)
