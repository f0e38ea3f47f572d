"""The checkpoint store with an engine that has one number for a policy."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from prorl_nemo.atomic_directory import DamagedDirectoryError
from prorl_nemo.checkpointing import CheckpointStore
from prorl_nemo.dynamic_sampling import SamplerState
from prorl_nemo.reference_reset import ResetState
from prorl_nemo.train_state import ResetEvent, TrainState, load_train_state, save_train_state
from prorl_nemo.types import RolloutBatch
from tests.support.rollouts import make_rollouts


class NumberEngine:
    """Saves and loads one number; the reference is another."""

    def __init__(self, policy: int = 0) -> None:
        self.policy, self.optimizer, self.reference = policy, 0, 0

    def save(self, directory: Path, *, weights_only: bool) -> None:
        (directory / "policy").write_text(str(self.policy))
        if not weights_only:
            (directory / "optimizer").write_text(str(self.optimizer))

    def load(self, directory: Path, *, reference: Path | None) -> None:
        self.policy = int((directory / "policy").read_text())
        self.optimizer = int((directory / "optimizer").read_text())
        if reference is not None:
            self.reference = int((reference / "policy").read_text())


def make_store(root: Path, **options: Any) -> CheckpointStore:
    return CheckpointStore(root, **{"keep_top_k": 2, **options})


def save(store: CheckpointStore, step: int, **state: Any) -> Path:
    return store.save(NumberEngine(step), TrainState(step=step, **state))  # type: ignore[arg-type]


def steps_kept(root: Path) -> list[int]:
    return [int(path.name[5:]) for path in sorted((root / "checkpoints").iterdir())]


def test_everything_in_the_state_comes_back(tmp_path: Path) -> None:
    carried = make_rollouts([[0.1, 0.7], [1.0, 0.0]], group_ids=[4, 9], policy_step=11)
    state = TrainState(
        step=12,
        run_index=2,
        prompt_position={"a": 7, "b": 1},
        sampler=SamplerState(carried=carried, informative=1 / 3, seen=0.1 + 0.2, next_group_id=10),
        reset=ResetState(3, 0.7, 2, "request"),
        resets=(ResetEvent(3, "period", "step_000003", "abc"), ResetEvent(5, "manual", "x", "d")),
        best_score=2 / 3,
        best_step=9,
        groups_generated=40,
        groups_used=20,
    )
    save_train_state(state, tmp_path)
    loaded = load_train_state(tmp_path)
    assert_same_rollouts(loaded.sampler.carried, carried)
    without = dataclasses.replace(loaded.sampler, carried=None)
    assert dataclasses.replace(loaded, sampler=without) == dataclasses.replace(
        state, sampler=dataclasses.replace(state.sampler, carried=None)
    )


def assert_same_rollouts(found: RolloutBatch | None, expected: RolloutBatch) -> None:
    assert found is not None
    for field in dataclasses.fields(RolloutBatch):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        if field.name == "task_names":
            assert a == b
        else:
            assert a.dtype == b.dtype
            assert torch.equal(a, b)


def test_a_new_state_comes_back(tmp_path: Path) -> None:
    save_train_state(TrainState(), tmp_path)
    assert load_train_state(tmp_path) == TrainState()


def test_another_version_is_refused(tmp_path: Path) -> None:
    save_train_state(TrainState(), tmp_path)
    path = tmp_path / "train_state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 99}))
    with pytest.raises(ValueError, match="version 99"):
        load_train_state(tmp_path)


def test_nothing_saved_yet(tmp_path: Path) -> None:
    assert make_store(tmp_path).newest() is None


def test_the_newest_comes_back_with_its_reference(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    event = store.pin(NumberEngine(5), step=5, reason="period")  # type: ignore[arg-type]
    save(store, 6)
    save(store, 7, resets=(event,))
    found, engine = store.newest(), NumberEngine()
    assert found is not None
    store.restore(engine, *found)  # type: ignore[arg-type]
    assert (engine.policy, engine.reference) == (7, 5)


def test_rotation_spares_pins_ends_of_runs_and_the_best(tmp_path: Path) -> None:
    store = make_store(tmp_path, kept_steps=frozenset({2}))
    store.pin(NumberEngine(), step=1, reason="period")  # type: ignore[arg-type]
    for step in range(1, 8):
        save(store, step, best_step=3 if step >= 3 else 0)
    assert steps_kept(tmp_path) == [2, 3, 6, 7]
    assert (tmp_path / "pins" / "step_000001").is_dir()
    save(store, 8, best_step=8)  # a new best: the old one is one of many
    assert steps_kept(tmp_path) == [2, 6, 7, 8]


def test_rotation_does_not_count_damaged_checkpoints_of_later_steps(tmp_path: Path) -> None:
    """As they lie there behind a fallback: counted, they would push out the one just made."""
    store = make_store(tmp_path)
    for step in (1, 2):
        save(store, step)
    for step in (8, 9):
        (tmp_path / "checkpoints" / f"step_{step:06d}").mkdir()
    save(store, 3)
    assert steps_kept(tmp_path) == [2, 3, 8, 9]


def test_a_damaged_newest_falls_back_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = make_store(tmp_path)
    for step in (1, 2):
        save(store, step)
    (tmp_path / "checkpoints" / "step_000002" / "policy" / "policy").write_text("3")
    with caplog.at_level(logging.WARNING):
        found = store.newest()
    assert found is not None
    assert found[1].step == 1
    assert "step_000002" in caplog.text
    (tmp_path / "checkpoints" / "step_000001" / "manifest.json").unlink()
    with pytest.raises(DamagedDirectoryError, match="no checkpoint is whole"):
        store.newest()


def test_half_written_directories_are_not_taken_for_checkpoints(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    save(store, 1)
    half = tmp_path / "checkpoints" / ".incomplete-step_000002" / "policy"
    half.mkdir(parents=True)
    found = store.newest()
    assert found is not None
    assert found[1].step == 1
    assert steps_kept(tmp_path) == [1]


def test_a_full_disk_leaves_the_checkpoints_as_they_were(tmp_path: Path) -> None:
    class FullDisk(NumberEngine):
        def save(self, directory: Path, *, weights_only: bool) -> None:
            (directory / "policy").write_text("half")
            raise OSError("No space left on device")

    store = make_store(tmp_path)
    save(store, 1)
    with pytest.raises(OSError, match="No space left"):
        store.save(FullDisk(), TrainState(step=2))  # type: ignore[arg-type]
    assert steps_kept(tmp_path) == [1]


def test_pinning_twice_gives_the_same_event(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    first = store.pin(NumberEngine(5), step=5, reason="period")  # type: ignore[arg-type]
    assert store.pin(NumberEngine(5), step=5, reason="period") == first  # type: ignore[arg-type]
    assert (store.pin_path(first) / "policy").read_text() == "5"


def test_a_damaged_pin_is_named(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    event = store.pin(NumberEngine(5), step=5, reason="period")  # type: ignore[arg-type]
    changed = store.pin(NumberEngine(6), step=5, reason="period")  # type: ignore[arg-type]
    assert changed.pin_hash != event.pin_hash
    with pytest.raises(DamagedDirectoryError, match="not the reference that step 5 pinned"):
        store.pin_path(event)
    (store.pin_path(changed) / "policy").write_text("7")
    with pytest.raises(DamagedDirectoryError, match="pins/step_000005/policy/policy"):
        store.pin_path(changed)
