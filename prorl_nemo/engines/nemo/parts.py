"""What a run on NeMo-RL is made of, and how its workers are started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class NemoParts:
    """The parts of NeMo-RL that a run is made of."""

    policy: Any  # ColocatablePolicyInterface
    policy_generation: Any  # GenerationInterface
    environment: Any  # Ray actor handle of a TaskEnvironment
    tokenizer: Any
    logger: Any


@dataclass(frozen=True)
class WorkerStart:
    """The weights that new workers have: all None is the base model."""

    weights: Path | None = None
    optimizer: Path | None = None
    reference: Path | None = None  # weights of a pin


class StartParts(Protocol):
    """Starts the workers, with optimizer and reference, or starts them again."""

    def __call__(self, start: WorkerStart) -> NemoParts: ...
