from __future__ import annotations

import io
import os
import pickle
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from prorl_nemo.conversion.inert_pickle import is_inert, load_inert

SOURCE = Path("checkpoint/.metadata")


class _RunsCommand:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def _load(value: object) -> object:
    return load_inert(io.BytesIO(pickle.dumps(value)), source=SOURCE)


def test_a_command_in_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with pytest.raises(ValueError, match=r"^checkpoint/\.metadata: .*system") as caught:
        _load([_RunsCommand(f"touch {trace}")])
    assert not trace.exists()
    assert "\n" not in str(caught.value)


def test_builtins_that_run_code_are_refused() -> None:
    for attack in (b"cbuiltins\neval\n(S'1+1'\ntR.", b"cbuiltins\nexec\n(S'1'\ntR."):
        with pytest.raises(ValueError, match="no checkpoint holds"):
            load_inert(io.BytesIO(attack), source=SOURCE)


def test_even_functions_of_known_packages_stay_inert() -> None:
    loaded = load_inert(io.BytesIO(b"ctorch.hub\nload\n(S'a'\ntR."), source=SOURCE)
    assert is_inert(loaded, "load")


def test_plain_values_and_dtypes_are_real() -> None:
    assert _load({"shape": torch.Size([2, 3]), "dtype": torch.bfloat16}) == {
        "shape": (2, 3),
        "dtype": torch.bfloat16,
    }


def test_an_object_keeps_its_attributes() -> None:
    loaded = _load(Namespace(tensor_model_parallel_size=4))
    assert is_inert(loaded, "Namespace")
    assert loaded.get("tensor_model_parallel_size") == 4  # type: ignore[attr-defined]
    assert loaded.get("absent") is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("data", [b"", b"\x80", b"not a pickle", pickle.dumps([1, 2])[:-3]])
def test_damaged_bytes_are_one_line(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^checkpoint/\.metadata: damaged") as caught:
        load_inert(io.BytesIO(data), source=SOURCE)
    assert "\n" not in str(caught.value)
