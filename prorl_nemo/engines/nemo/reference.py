"""The verbs that ProRL adds to NeMo-RL's policy workers, asked of all workers at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class StateDigest:
    """Hashes of one worker's shard of the weights.

    ``shard`` is equal for workers that hold the same part of the model. ``reference`` is None
    without a reference.
    """

    shard: tuple[int, ...]
    policy: str
    reference: str | None


class ReferenceWorkers:
    """The reference that a policy's workers hold; raises RuntimeError when they don't agree."""

    def __init__(self, policy: Any) -> None:
        self._policy = policy

    def load_reference(self, weights: Path, *, expect_policy: bool) -> None:
        """Load ``weights`` as the reference on every worker, and check what they loaded.

        ``expect_policy``: the weights were saved from the policy as it is now.
        """
        self._ask("load_reference", weights_path=str(weights.absolute()))
        check_digests(self.digests(), expect_policy=expect_policy)

    def clear_optimizer_state(self) -> None:
        """Forget the optimizer's moments and start its warm-up again."""
        self._ask("clear_optimizer_state")

    def digests(self) -> list[StateDigest]:
        """One per worker."""
        return self._ask("compute_state_digest")

    def _ask(self, method: str, **arguments: str) -> list[Any]:
        # By keyword only: NeMo-RL's worker group refuses positional arguments.
        answers: list[Any] = self._policy.run_all_workers_single_data(method, **arguments)
        return answers


def check_digests(digests: Sequence[StateDigest], *, expect_policy: bool) -> None:
    """Workers with the same shard have the same reference: the policy itself, if expected."""
    seen: dict[tuple[int, ...], str] = {}
    for digest in digests:
        if digest.reference is None:
            raise RuntimeError(f"the worker of shard {digest.shard} has no reference")
        if seen.setdefault(digest.shard, digest.reference) != digest.reference:
            raise RuntimeError(f"workers of shard {digest.shard} loaded different references")
        if expect_policy and digest.reference != digest.policy:
            raise RuntimeError(
                f"the reference of shard {digest.shard} differs from the policy it was saved from"
            )
