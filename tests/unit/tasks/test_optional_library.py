"""A library that is not installed is named with the extra that installs it."""

import sys

import pytest

from prorl_nemo.tasks.instructions import InstructionTask
from prorl_nemo.tasks.math import MathTask
from prorl_nemo.tasks.optional_library import import_optional, require_optional
from prorl_nemo.tasks.stem import StemTask


def test_what_is_missing_is_named_with_its_extra() -> None:
    with pytest.raises(ValueError, match=r"nowhere_to_be_found .* prorl_nemo\[domains\]"):
        import_optional("nowhere_to_be_found")
    with pytest.raises(ValueError, match=r"nowhere_to_be_found .* prorl_nemo\[domains\]"):
        require_optional("json", "nowhere_to_be_found")
    assert import_optional("json") is sys.modules["json"]


@pytest.mark.parametrize("make_task", [MathTask, StemTask, InstructionTask])
def test_a_task_without_its_library_can_not_be_made(
    make_task: type[MathTask] | type[StemTask] | type[InstructionTask],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="is not installed"):
        make_task("task", [])
