"""Each damage is one line that names the file, and leaves no output behind."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from prorl_nemo.conversion.convert import ConversionOptions, convert_checkpoint
from tests.unit.conversion.tiny_model import make_megatron_checkpoint, make_tiny_model

DATA = "__0_0.distcp"
DEFAULTS = ConversionOptions()


@pytest.fixture
def iteration(tmp_path: Path) -> Path:
    return make_megatron_checkpoint(tmp_path)


def expect_refusal(
    checkpoint: Path, output: Path, match: str, options: ConversionOptions = DEFAULTS
) -> None:
    """One line; nothing at the output's place, and nothing beside it."""
    before = sorted(output.parent.iterdir())
    with pytest.raises(ValueError, match=match) as caught:
        convert_checkpoint(checkpoint, output, options=options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(output.parent))  # names a file or directory
    assert sorted(output.parent.iterdir()) == before


def flip_bit_of_a_weight(iteration: Path) -> None:
    path = iteration / DATA
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def truncate_data(iteration: Path) -> None:
    os.truncate(iteration / DATA, 10_000)


def zero_an_archive(iteration: Path) -> None:
    path = iteration / DATA
    path.write_bytes(bytes(path.stat().st_size))


def declare(content: str) -> Callable[[Path], None]:
    return lambda iteration: (iteration / "metadata.json").write_text(content) and None


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "flipped bit": (flip_bit_of_a_weight, r"__0_0\.distcp: damaged"),
    "truncated data": (truncate_data, r"__0_0\.distcp: truncated: "),
    "zeroed data": (zero_an_archive, r"__0_0\.distcp: damaged: "),
    "missing data": (lambda i: (i / DATA).unlink(), r"__0_0\.distcp: missing, but "),
    "no index": (lambda i: (i / ".metadata").unlink(), r"\.metadata: missing"),
    "truncated index": (lambda i: os.truncate(i / ".metadata", 900), r"\.metadata: damaged"),
    "empty index": (lambda i: os.truncate(i / ".metadata", 0), r"\.metadata: damaged"),
    "foreign index": (
        lambda i: (i / ".metadata").write_bytes(pickle.dumps({"a": 1})) and None,
        r"\.metadata: not an index",
    ),
    "newer format": (
        declare('{"sharded_backend": "torch_dist", "sharded_backend_version": 2}'),
        r"metadata\.json: format torch_dist version 2",
    ),
    "other format": (
        declare('{"sharded_backend": "zarr", "sharded_backend_version": 1}'),
        r"metadata\.json: format zarr version 1",
    ),
    "no format": (declare("[1"), r"metadata\.json: damaged"),
    "damaged config": (lambda i: (i / "config.json").write_text("{") and None, "not JSON"),
    "no config": (lambda i: (i / "config.json").unlink(), "no model configuration found"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_megatron_checkpoint(iteration: Path, tmp_path: Path, damage: str) -> None:
    do_damage, message = DAMAGES[damage]
    do_damage(iteration)
    expect_refusal(iteration, tmp_path / "out", message)


def test_unread_checksums_let_the_flipped_bit_pass(iteration: Path, tmp_path: Path) -> None:
    """The control of the case above: the bit is in a weight, and only the checksum sees it."""
    flip_bit_of_a_weight(iteration)
    options = ConversionOptions(should_check_checksums=False)
    assert convert_checkpoint(iteration, tmp_path / "out", options=options).num_tensors > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 3}, "stacks 2 layers; the model configuration has 3"),
        ({"num_hidden_layers": 1}, "stacks 2 layers; the model configuration has 1"),
        ({"num_key_value_heads": 4}, "the model configuration needs 96"),
        ({"vocab_size": 121}, r"embed_tokens\.weight has shape \[120, 32\]"),
        ({"hidden_size": 64}, r"has shape"),
        ({"model_type": "qwen3"}, r"lacks 4 tensors: .*k_norm"),
        ({"model_type": "gemma2"}, "gemma2 is not one of llama"),
        ({"tie_word_embeddings": True}, r"output_layer\.weight differs from the embedding"),
    ],
)
def test_configuration_of_another_model(
    iteration: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = iteration / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    expect_refusal(iteration, tmp_path / "out", message)


def test_damaged_safetensors(tmp_path: Path) -> None:
    make_tiny_model("llama", tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    expect_refusal(tmp_path / "model", tmp_path / "out", r"model\.safetensors: truncated")
    path.write_bytes(b"\xff" * 200)
    expect_refusal(tmp_path / "model", tmp_path / "out", r"model\.safetensors: damaged")
    path.write_bytes(b"")
    expect_refusal(tmp_path / "model", tmp_path / "out", r"model\.safetensors: damaged")


def test_a_missing_safetensors_shard(iteration: Path, tmp_path: Path) -> None:
    options = ConversionOptions(max_shard_bytes=20_000)
    convert_checkpoint(iteration, tmp_path / "sharded", options=options)
    victim = sorted((tmp_path / "sharded").glob("model-*.safetensors"))[2]
    victim.unlink()
    expect_refusal(tmp_path / "sharded", tmp_path / "out", f"{victim.name}: missing")


def test_an_existing_output_is_left_alone(iteration: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    expect_refusal(iteration, tmp_path / "out", "out: exists already")
    assert (tmp_path / "out" / "mine").read_text() == "mine"


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_no_checkpoint(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    expect_refusal(tmp_path / name, tmp_path / "out", f"{name}: (no such|not a checkpoint)")


def test_an_interrupted_conversion_is_cleared_and_repeated(iteration: Path, tmp_path: Path) -> None:
    stale = tmp_path / ".incomplete-out"
    stale.mkdir()
    (stale / "model.safetensors").write_bytes(b"half")
    convert_checkpoint(iteration, tmp_path / "out")
    assert not list(tmp_path.glob(".incomplete*"))


def test_a_disk_that_is_too_small_is_refused_before_writing(
    iteration: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        expect_refusal(iteration, disk / "out", "not enough space")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
