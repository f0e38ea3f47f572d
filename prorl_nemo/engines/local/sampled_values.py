"""What sampling knew of its own tokens: no forward pass has to find it out again.

Holds as long as the weights do not change, in float32: in lower precision a packed forward
pass rounds differently from one token at a time, and the first ratio would not be 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from prorl_nemo.engines.local.generate import Response
from prorl_nemo.types import PromptGroup, RolloutBatch


class SampledEntropies:
    """Entropies of the groups sampled since the weights changed, by group id."""

    def __init__(self) -> None:
        self._entropies: dict[int, list[tuple[float, ...]]] = {}

    def remember(
        self, prompts: Sequence[PromptGroup], responses: Sequence[Sequence[Response]]
    ) -> None:
        for group, samples in zip(prompts, responses, strict=True):
            self._entropies[group.group_id] = [response.entropies for response in samples]

    def forget(self) -> None:
        """The weights have changed."""
        self._entropies.clear()

    def lay_out(self, rollouts: RolloutBatch) -> tuple[Tensor, Tensor]:
        """Which rows are known, [B] bool, and their entropies, [B, S], 0 where unknown.

        The rows of a group are expected whole and in the order of sampling.
        """
        entropy = torch.zeros(rollouts.input_ids.shape)
        known = torch.zeros(len(rollouts), dtype=torch.bool)
        samples = {group: iter(rows) for group, rows in self._entropies.items()}
        starts = rollouts.prompt_lengths.tolist()
        for row, group in enumerate(rollouts.group_ids.tolist()):
            if group in samples:
                values = next(samples[group])
                entropy[row, starts[row] : starts[row] + len(values)] = torch.tensor(values)
                known[row] = True
        return known, entropy
