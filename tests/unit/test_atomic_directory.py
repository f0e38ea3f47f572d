from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from prorl_nemo.atomic_directory import (
    DamagedDirectoryError,
    remove_directory,
    remove_leftovers,
    verify_directory,
    write_directory,
    write_text,
)


def fill_with(text: str) -> Callable[[Path], None]:
    def fill(directory: Path) -> None:
        (directory / "sub").mkdir()
        (directory / "a.txt").write_text(text)
        (directory / "sub" / "b.txt").write_text(text * 2)

    return fill


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    write_directory(tmp_path / "whole", fill_with("one"))
    return tmp_path / "whole"


def test_a_whole_directory_has_one_hash(whole: Path, tmp_path: Path) -> None:
    digest = write_directory(tmp_path / "twin", fill_with("one"))
    assert verify_directory(whole) == verify_directory(tmp_path / "twin") == digest
    assert write_directory(tmp_path / "other", fill_with("two")) != digest
    assert [path.name for path in tmp_path.glob(".*")] == []


def flip(path: Path) -> None:
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


def forget_entry(path: Path) -> None:
    manifest = json.loads((path.parent.parent / "manifest.json").read_text())
    del manifest["files"]["sub/b.txt"]["bytes"]
    (path.parent.parent / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip, "b.txt: content differs"),
        (Path.unlink, "b.txt: missing or cut short"),
        (lambda path: path.write_text("on"), "b.txt: missing or cut short"),
        (lambda path: (path.parent.parent / "manifest.json").unlink(), "manifest.json: missing"),
        (lambda path: (path.parent.parent / "manifest.json").write_text("{"), "manifest.json"),
        (lambda path: (path.parent.parent / "manifest.json").write_text("[]"), "manifest.json"),
        (lambda path: (path.parent.parent / "manifest.json").write_bytes(b"\xff"), "manifest.json"),
        (forget_entry, "manifest.json: missing or unreadable"),
    ],
)
def test_damage_is_named(whole: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(whole / "sub" / "b.txt")
    with pytest.raises(DamagedDirectoryError, match=message):
        verify_directory(whole)


def test_an_empty_directory_is_not_whole(tmp_path: Path) -> None:
    with pytest.raises(DamagedDirectoryError):
        verify_directory(tmp_path)


def test_a_full_disk_leaves_the_old_one(whole: Path) -> None:
    def fill(directory: Path) -> None:
        (directory / "a.txt").write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = verify_directory(whole)
    with pytest.raises(OSError, match="No space left"):
        write_directory(whole, fill)
    assert verify_directory(whole) == before
    assert [path.name for path in whole.parent.iterdir()] == ["whole"]


def test_replacing_keeps_nothing_of_the_old_one(whole: Path) -> None:
    write_directory(whole, lambda directory: (directory / "c.txt").write_text("x") and None)
    assert sorted(path.name for path in whole.iterdir()) == ["c.txt", "manifest.json"]
    assert [path.name for path in whole.parent.iterdir()] == ["whole"]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("nth", [1, 2])
def test_killed_between_the_renames_the_old_or_the_new_one_is_there(
    whole: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    old = verify_directory(whole)
    real, renames = Path.rename, []

    def rename(self: Path, target: Path) -> Path:
        renames.append(target)
        if len(renames) == nth:
            raise Killed
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        with pytest.raises(Killed):
            write_directory(whole, fill_with("two"))
    remove_leftovers(whole.parent)
    assert verify_directory(whole) == old
    assert [path.name for path in whole.parent.iterdir()] == ["whole"]


def test_leftovers_of_a_replacement_that_was_done_go(whole: Path) -> None:
    (whole.parent / ".replaced-whole").mkdir()
    (whole.parent / ".incomplete-whole").mkdir()
    (whole.parent / ".incomplete-file").touch()
    before = verify_directory(whole)
    remove_leftovers(whole.parent)
    assert verify_directory(whole) == before
    assert [path.name for path in whole.parent.iterdir()] == ["whole"]


def test_removal_is_whole(whole: Path) -> None:
    remove_directory(whole)
    assert list(whole.parent.iterdir()) == []


def test_text_is_replaced_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "one")
    write_text(tmp_path / "a", "two")
    assert (tmp_path / "a").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
