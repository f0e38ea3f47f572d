"""Random damage of DCP files is refused, or it changes no bit of what is converted.

torch.save wrote a checksum beside every piece, so nothing may pass unnoticed. safetensors has
none: there only damage of the header is seen, unless a manifest lies beside it.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch.distributed import checkpoint as dcp

from prorl_nemo.conversion.convert import convert_checkpoint
from tests.unit.conversion.tiny_model import (
    make_megatron_checkpoint,
    make_tiny_model,
)

NUM_DAMAGES = 60
FILES = (".metadata", "__0_0.distcp", "metadata.json")


def damage(content: bytes, chance: random.Random) -> bytes:
    """A flipped bit, a lost end, or a block of zeros."""
    position = chance.randrange(len(content))
    changed = bytearray(content)
    match chance.choice(("flip", "cut", "zero")):
        case "flip":
            changed[position] ^= 1 << chance.randrange(8)
        case "cut":
            del changed[position:]
        case "zero":
            changed[position : position + 64] = bytes(len(changed[position : position + 64]))
    return bytes(changed)


def make_dtensor_checkpoint(root: Path) -> Path:
    model = make_tiny_model("qwen2", root / "model", tie_word_embeddings=True)
    dcp.save({**model.state_dict()}, checkpoint_id=root / "dcp", no_dist=True)
    shutil.copy(root / "model" / "config.json", root / "dcp")
    return root / "dcp"


def refuse(checkpoint: Path, output: Path) -> str | None:
    """The message of a conversion that is refused, None of one that succeeds."""
    try:
        convert_checkpoint(checkpoint, output)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize("make", [make_megatron_checkpoint, make_dtensor_checkpoint])
@pytest.mark.parametrize("seed", [1, 2])
def test_no_damage_passes(make: Callable[[Path], Path], seed: int, tmp_path: Path) -> None:
    checkpoint, output = make(tmp_path), tmp_path / "out"
    convert_checkpoint(checkpoint, tmp_path / "whole")
    expected = load_file(tmp_path / "whole" / "model.safetensors")
    before = sorted(tmp_path.iterdir())
    files = [checkpoint / name for name in FILES if (checkpoint / name).is_file()]
    chance, num_refused = random.Random(seed), 0
    for _ in range(NUM_DAMAGES):
        victim = chance.choice(files)
        content = victim.read_bytes()
        victim.write_bytes(damage(content, chance))
        message = refuse(checkpoint, output)
        if message is None:
            converted = load_file(output / "model.safetensors")
            assert converted.keys() == expected.keys()
            assert all(converted[name].equal(expected[name]) for name in expected)
            shutil.rmtree(output)
        else:
            num_refused += 1
            assert message.startswith(str(checkpoint))
            assert "\n" not in message
        assert sorted(tmp_path.iterdir()) == before
        victim.write_bytes(content)
    assert num_refused > NUM_DAMAGES / 2
