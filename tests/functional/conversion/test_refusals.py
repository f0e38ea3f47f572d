"""`prorl convert` on what it must refuse: exit code 2, one line that names the file, no output."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from torch.distributed.checkpoint.metadata import Metadata

from prorl_nemo.cli import main
from prorl_nemo.conversion.convert import ConversionOptions, convert_checkpoint
from tests.unit.conversion.tiny_model import make_megatron_checkpoint, make_tiny_model

ITERATION = "policy/weights/iter_0000000"
SHARDS = "policy/weights/model"


@pytest.fixture
def megatron_step(tmp_path: Path) -> Path:
    """A step directory as NeMo-RL leaves it with Megatron."""
    iteration = make_megatron_checkpoint(tmp_path / "made")
    step = tmp_path / "run" / "step_7"
    (step / ITERATION).parent.mkdir(parents=True)
    iteration.rename(step / ITERATION)
    (step / "training_info.json").write_text('{"total_steps": 7}')
    (step / "config.yaml").write_text("policy: {model_name: none, tokenizer: {name: none}}\n")
    return step


@pytest.fixture
def safetensors_step(tmp_path: Path) -> Path:
    """A step directory as NeMo-RL leaves it with DTensor v2."""
    make_tiny_model("qwen2", tmp_path / "made")
    step = tmp_path / "run" / "step_7"
    (step / SHARDS).parent.mkdir(parents=True)
    options = ConversionOptions(max_shard_bytes=20_000)
    convert_checkpoint(tmp_path / "made", step / SHARDS, options=options)
    (step / SHARDS / "manifest.json").unlink()
    (step / "training_info.json").write_text('{"total_steps": 7}')
    return step


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def write(content: str | bytes) -> Callable[[Path], None]:
    raw = content if isinstance(content, bytes) else content.encode()
    return lambda path: path.write_bytes(raw) and None


def set_format(version: int, backend: str = "torch_dist") -> Callable[[Path], None]:
    return write(json.dumps({"sharded_backend": backend, "sharded_backend_version": version}))


def raise_dcp_version(path: Path) -> None:
    metadata: Metadata = pickle.loads(path.read_bytes())
    metadata.version = "2.0.0"
    path.write_bytes(pickle.dumps(metadata))


Case = tuple[str, Callable[[Path], None], str]
MEGATRON: dict[str, Case] = {
    "damaged data": (f"{ITERATION}/__0_0.distcp", flip, "damaged"),
    "damaged index": (f"{ITERATION}/.metadata", write(b"\x80\x04xy"), "damaged"),
    "damaged record": ("training_info.json", cut, "damaged"),
    "damaged settings": ("config.yaml", write("policy: ["), "damaged"),
    "truncated data": (f"{ITERATION}/__0_0.distcp", cut, "truncated"),
    "truncated index": (f"{ITERATION}/.metadata", cut, "damaged"),
    "missing shard": (f"{ITERATION}/__0_0.distcp", Path.unlink, "missing"),
    "missing index": (f"{ITERATION}/.metadata", Path.unlink, "missing"),
    "foreign index": (f"{ITERATION}/.metadata", write(pickle.dumps([1, 2])), "not an index"),
    "foreign format": (f"{ITERATION}/metadata.json", set_format(1, "zarr"), "format zarr"),
    "future Megatron": (f"{ITERATION}/metadata.json", set_format(2), "version 2"),
    "future DCP": (f"{ITERATION}/.metadata", raise_dcp_version, "2.0.0 is newer"),
}
SAFETENSORS: dict[str, Case] = {
    "damaged shard": (f"{SHARDS}/model-00002-of-00006.safetensors", write(b"x" * 99), "damaged"),
    "damaged index": (f"{SHARDS}/model.safetensors.index.json", cut, "damaged"),
    "damaged model": (f"{SHARDS}/config.json", write('{"model_type": "x"}'), "not a usable model"),
    "truncated shard": (f"{SHARDS}/model-00002-of-00006.safetensors", cut, "truncated"),
    "missing shard": (f"{SHARDS}/model-00002-of-00006.safetensors", Path.unlink, "missing"),
}


def expect_refusal(
    checkpoint: Path, output: Path, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(output.parent.iterdir())
    capsys.readouterr()
    code = main(["convert", str(checkpoint), str(output)])
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith("prorl convert: ")
    assert error.count("\n") == 1
    assert named in error
    assert sorted(output.parent.iterdir()) == before


@pytest.mark.parametrize("case", MEGATRON)
def test_megatron(
    megatron_step: Path, tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, damage, message = MEGATRON[case]
    damage(megatron_step / name)
    expect_refusal(tmp_path / "run", tmp_path / "out", f"{megatron_step / name}: ", capsys)
    expect_refusal(tmp_path / "run", tmp_path / "out", message, capsys)


@pytest.mark.parametrize("case", SAFETENSORS)
def test_safetensors(
    safetensors_step: Path, tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, damage, message = SAFETENSORS[case]
    damage(safetensors_step / name)
    expect_refusal(tmp_path / "run", tmp_path / "out", f"{safetensors_step / name}: ", capsys)
    expect_refusal(tmp_path / "run", tmp_path / "out", message, capsys)


def test_a_converted_directory_that_changed_since(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """safetensors has no checksums; the manifest that a conversion leaves has."""
    make_tiny_model("llama", tmp_path / "made")
    convert_checkpoint(tmp_path / "made", tmp_path / "converted")
    flip(tmp_path / "converted" / "model.safetensors")
    named = f"{tmp_path / 'converted' / 'model.safetensors'}: content differs from its manifest"
    expect_refusal(tmp_path / "converted", tmp_path / "out", named, capsys)


def test_a_damaged_tokenizer(
    megatron_step: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = megatron_step / "policy" / "tokenizer" / "tokenizer.json"
    tokenizer.parent.mkdir()
    tokenizer.write_text('{"model": ')
    expect_refusal(tmp_path / "run", tmp_path / "out", f"{tokenizer}: damaged", capsys)


@pytest.mark.parametrize("content", ["", "policy", "checkpoint.bin"])
def test_a_foreign_directory(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    if content:
        (foreign / content).write_bytes(b"\x80\x02")
    expect_refusal(foreign, tmp_path / "out", f"{foreign}: not a checkpoint: ", capsys)


def test_a_file_is_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = tmp_path / "model.nemo"
    archive.write_bytes(b"archive")
    expect_refusal(archive, tmp_path / "out", f"{archive}: not a directory", capsys)


@pytest.mark.parametrize("kind", ["directory", "file", "link"])
def test_an_existing_output(
    megatron_step: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    match kind:
        case "directory":
            output.mkdir()
            (output / "mine").write_text("mine")
        case "file":
            output.write_text("mine")
        case "link":
            output.symlink_to(tmp_path / "nowhere")
    expect_refusal(tmp_path / "run", output, f"{output}: exists already", capsys)
    if kind == "directory":
        assert [path.name for path in output.iterdir()] == ["mine"]


def test_a_checkpoint_that_is_removed_while_it_is_read(megatron_step: Path, tmp_path: Path) -> None:
    """The run goes on beside the conversion and drops this checkpoint from its top k."""
    victim = megatron_step / ITERATION / "__0_0.distcp"
    with pytest.raises(
        ValueError, match=r"__0_0\.distcp: could not be read: No such file"
    ) as error:
        convert_checkpoint(
            tmp_path / "run",
            tmp_path / "out",
            on_progress=lambda *_: victim.unlink(missing_ok=True),
        )
    assert str(error.value).startswith(f"{victim}: ")
    assert not list(tmp_path.glob("*out*"))
