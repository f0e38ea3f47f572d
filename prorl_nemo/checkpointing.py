"""The run directory's checkpoints and pinned references.

::

    RUN/checkpoints/step_000040/   policy/ (the engine's), train_state.json, manifest.json
    RUN/pins/step_000040/          policy/ (weights only), manifest.json

Pins live outside the rotation of checkpoints: after a requeue the reference is the pin
again. Ends of runs are kept as well.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from prorl_nemo.atomic_directory import (
    DamagedDirectoryError,
    remove_directory,
    remove_leftovers,
    verify_directory,
    write_directory,
)
from prorl_nemo.engine import Engine
from prorl_nemo.train_state import ResetEvent, TrainState, load_train_state, save_train_state

logger = logging.getLogger(__name__)

POLICY = "policy"


@dataclass(frozen=True)
class CheckpointStore:
    """Checkpoints and pins below one run directory.

    ``kept_steps`` are steps whose checkpoints the rotation leaves alone (ends of runs, the
    intermediate model of the evaluation); so is the one with the best validation score.
    """

    root: Path
    keep_top_k: int
    kept_steps: frozenset[int] = frozenset()

    def save(self, engine: Engine, state: TrainState) -> Path:
        """Write the checkpoint of ``state.step``; raises OSError with the old ones untouched."""

        def fill(directory: Path) -> None:
            _save_policy(engine, directory, weights_only=False)
            save_train_state(state, directory)

        target = self._path("checkpoints", state.step)
        write_directory(target, fill)
        self._rotate(newest=target, best_step=state.best_step)
        return target

    def pin(self, engine: Engine, *, step: int, reason: str) -> ResetEvent:
        """Write the policy's weights as the reference to be; safe to repeat."""

        def fill(directory: Path) -> None:
            _save_policy(engine, directory, weights_only=True)

        target = self._path("pins", step)
        digest = write_directory(target, fill)
        return ResetEvent(step=step, reason=reason, pin=target.name, pin_hash=digest)

    def pin_path(self, event: ResetEvent) -> Path:
        """Where the weights of a pin are; raises DamagedDirectoryError if they changed."""
        directory = self.root / "pins" / event.pin
        if verify_directory(directory) != event.pin_hash:
            raise DamagedDirectoryError(
                f"{directory}: not the reference that step {event.step} pinned"
            )
        return directory / POLICY

    def restore(self, engine: Engine, directory: Path, state: TrainState) -> None:
        """Load a checkpoint that ``newest`` found, and the pinned reference with it.

        Raises DamagedDirectoryError when the pin is not what the checkpoint remembers.
        """
        event = state.reference_pin
        reference = self.pin_path(event) if event is not None else None
        engine.load(directory / POLICY, reference=reference)

    def newest(self) -> tuple[Path, TrainState] | None:
        """The newest whole checkpoint and its state; None when there is none at all.

        A damaged one is passed over with a warning. Raises DamagedDirectoryError when
        checkpoints exist and none is whole.
        """
        for parent in ("checkpoints", "pins"):
            remove_leftovers(self.root / parent)
        directories = sorted((self.root / "checkpoints").glob("step_*"), reverse=True)
        for directory in directories:
            try:
                verify_directory(directory)
                return directory, load_train_state(directory)
            except DamagedDirectoryError as error:
                logger.warning("%s; falling back to the checkpoint before it", error)
        if directories:
            raise DamagedDirectoryError(f"{self.root / 'checkpoints'}: no checkpoint is whole")
        return None

    def _path(self, kind: str, step: int) -> Path:
        return self.root / kind / f"step_{step:06d}"

    def _rotate(self, *, newest: Path, best_step: int) -> None:
        # Behind a fallback there are damaged checkpoints of later steps: they don't count.
        found = sorted((self.root / "checkpoints").glob("step_*"))
        directories = [directory for directory in found if directory <= newest]
        kept = {self._path("checkpoints", step) for step in {*self.kept_steps, best_step}}
        in_rotation = [directory for directory in directories if directory not in kept]
        for directory in in_rotation[: -self.keep_top_k]:
            remove_directory(directory)


def _save_policy(engine: Engine, directory: Path, *, weights_only: bool) -> None:
    policy = directory / POLICY
    policy.mkdir()
    engine.save(policy, weights_only=weights_only)
