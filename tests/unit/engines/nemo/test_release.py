"""What a user without NeMo-RL, or with another one, is told."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from prorl_nemo.engines.nemo.release import find_release_root, require_nemo_rl


def test_a_missing_nemo_rl_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"nvcr\.io/nvidia/nemo-rl:v0\.7\.0") as refusal:
        require_nemo_rl()
    assert "`nemo-rl` and `apex` are other projects" in str(refusal.value)


def test_the_indexs_placeholder_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"nemo_rl": object()}
    monkeypatch.setattr(importlib.util, "find_spec", found.get)
    with pytest.raises(ValueError, match="empty placeholder"):
        require_nemo_rl()


def test_a_root_that_is_no_source_tree_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NEMO_RL_ROOT", str(tmp_path))
    with pytest.raises(ValueError, match="NEMO_RL_ROOT"):
        find_release_root()
