"""TrainState: everything a campaign needs to go on, apart from weights and optimizer.

Scalars go to ``train_state.json``, the carried groups to ``carried.safetensors``. Random
numbers need no state of their own: whatever is random is seeded from the campaign's seed
and a step or a group id, and those are here.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import load_file, save_file

from prorl_nemo.dynamic_sampling import SampledGroups, SamplerState
from prorl_nemo.reference_reset import ResetState
from prorl_nemo.types import RolloutBatch

STATE_FILE = "train_state.json"
CARRIED_FILE = "carried.safetensors"
VERSION = 1


@dataclass(frozen=True)
class ResetEvent:
    """A reference reset that took place after ``step``, and the pin it left."""

    step: int
    reason: str
    pin: str
    pin_hash: str


@dataclass(frozen=True)
class TrainState:
    """The campaign behind ``step`` completed steps."""

    step: int = 0
    run_index: int = -1  # no run has begun
    prompt_position: Mapping[str, int] = field(default_factory=dict)
    sampler: SamplerState = field(default_factory=SamplerState)
    reset: ResetState = field(default_factory=ResetState)
    resets: tuple[ResetEvent, ...] = ()
    best_score: float | None = None
    best_step: int = 0
    groups_generated: int = 0
    groups_used: int = 0

    @property
    def reference_pin(self) -> ResetEvent | None:
        """The reset whose pin is the reference now; None means the base model."""
        return self.resets[-1] if self.resets else None

    def after_step(
        self, sampled: SampledGroups, *, position: Mapping[str, int], score: float | None
    ) -> TrainState:
        """One step further; ``score`` is the validation's, if there was one."""
        used = sampled.rollouts.num_groups if sampled.rollouts is not None else 0
        is_best = score is not None and (self.best_score is None or score > self.best_score)
        step = self.step + 1
        return dataclasses.replace(
            self,
            step=step,
            sampler=sampled.state,
            prompt_position=position,
            groups_generated=self.groups_generated + sampled.num_generated,
            groups_used=self.groups_used + used,
            best_score=score if is_best else self.best_score,
            best_step=step if is_best else self.best_step,
        )

    @property
    def is_behind_reset(self) -> bool:
        """Whether the reference was reset behind the last completed step."""
        return self.reference_pin is not None and self.reference_pin.step == self.step

    @property
    def is_behind_run_start(self) -> bool:
        """Whether the run has begun with a reset and not done a step yet."""
        event = self.reference_pin
        return event is not None and self.is_behind_reset and event.reason == "run_start"


def save_train_state(state: TrainState, directory: Path) -> None:
    """Write both files into ``directory``."""
    carried = state.sampler.carried
    light = dataclasses.replace(state, sampler=dataclasses.replace(state.sampler, carried=None))
    content = {"version": VERSION, **dataclasses.asdict(light)}
    if carried is not None:
        content["carried_task_names"] = list(carried.task_names)
        tensors = {
            f.name: getattr(carried, f.name).contiguous()
            for f in dataclasses.fields(carried)
            if f.name != "task_names"
        }
        save_file(tensors, directory / CARRIED_FILE)
    (directory / STATE_FILE).write_text(json.dumps(content, indent=1), encoding="utf-8")


def load_train_state(directory: Path) -> TrainState:
    """Read what ``save_train_state`` wrote; raises ValueError for another version."""
    path = directory / STATE_FILE
    content = json.loads(path.read_text(encoding="utf-8"))
    if (version := content.pop("version", None)) != VERSION:
        raise ValueError(f"{path}: version {version}, this release reads version {VERSION}")
    names = content.pop("carried_task_names", None)
    carried = None
    if names is not None:
        tensors = load_file(directory / CARRIED_FILE)
        carried = RolloutBatch(task_names=tuple(names), **tensors)
    sampler = {**content.pop("sampler"), "carried": carried}
    return TrainState(
        sampler=SamplerState(**sampler),
        reset=ResetState(**content.pop("reset")),
        resets=tuple(ResetEvent(**event) for event in content.pop("resets")),
        **content,
    )
