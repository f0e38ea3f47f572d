"""The Engine protocol: the eight verbs that the training loop knows, and nothing else.

``engines.local`` implements it in one process with transformers, ``engines.nemo`` on
NeMo-RL's Ray workers. An engine is built for one run of the schedule; a run with another
context length, group size or penalty gets a new engine that loads the last checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from prorl_nemo.tasks.base import Problem
from prorl_nemo.types import (
    PromptGroup,
    RolloutBatch,
    TrainBatch,
    TrainMetrics,
    ValidationResult,
)


class Engine(Protocol):
    """Policy, reference and generation behind eight verbs.

    Given the same weights and arguments, every verb gives the same result: whatever is
    random is seeded from the campaign's seed and the ids or steps it is handed, so that a
    resumed campaign continues as if it had never stopped.
    """

    def rollout(self, prompts: Sequence[PromptGroup], *, step: int) -> RolloutBatch:
        """Sample and score ``grpo.num_generations_per_prompt`` responses for each prompt.

        Groups come back whole, in the order asked for, with the generation weights of the
        last ``refit``.
        """
        ...

    def compute_logprobs(self, batch: TrainBatch) -> TrainBatch:
        """Add prev_logprobs, reference_policy_logprobs and entropy, each [B, S]."""
        ...

    def train(self, batch: TrainBatch) -> TrainMetrics:
        """Update the policy, one optimizer update per ``policy.train_global_batch_size`` rows.

        Raises FloatingPointError before the optimizer acts if loss or gradient is not finite.
        """
        ...

    def refit(self) -> None:
        """Hand the policy's weights to generation."""
        ...

    def reset_reference(self, pin: Path, *, reset_optimizer: bool) -> None:
        """Load the weights pinned at ``pin`` as the reference; clear the optimizer if asked."""
        ...

    def validate(
        self, problems: Sequence[Problem], *, num_samples: int, step: int
    ) -> ValidationResult:
        """Sample ``num_samples`` responses per held-out problem and score them."""
        ...

    def save(self, directory: Path, *, weights_only: bool) -> None:
        """Write the policy (and the optimizer unless ``weights_only``) into an empty directory.

        Raises OSError when the directory can't be written whole.
        """
        ...

    def load(self, directory: Path, *, reference: Path | None) -> None:
        """Restore what ``save`` wrote; the reference comes from the pin, or stays as built."""
        ...
