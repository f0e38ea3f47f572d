"""Sample files: what is whole is read, what is torn is repaired, what is wrong is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from prorl_nemo.evaluation.sample_files import (
    SampleChunk,
    SampleMeta,
    append_chunk,
    chunk_line,
    count_done,
    meta_path,
    read_meta,
    repair_torn_tail,
    write_meta,
)
from prorl_nemo.evaluation.samples import (
    IncompleteSamples,
    SampleSet,
    iter_responses,
    read_evaluation,
    read_samples,
)

META = SampleMeta(
    model="base", model_order=0, step=None, benchmark="gcd", task="gcd", role="trained",
    sweep_value=None, sweep_group=None, num_problems=2, num_samples=4, temperature=0.6,
    top_p=0.95, max_new_tokens=16, seed=1,
)  # fmt: skip


def chunk(problem_id: str, first: int, rewards: list[float]) -> SampleChunk:
    count = len(rewards)
    return SampleChunk(
        problem_id=problem_id,
        first_sample=first,
        rewards=tuple(rewards),
        responses=tuple(f"{problem_id}/{first + i} né\n" for i in range(count)),
        num_tokens=tuple(range(first, first + count)),
        truncated=(False,) * count,
    )


WHOLE = (
    chunk("b", 0, [1.0, 0.0]),
    chunk("a", 2, [0.5, 1.0]),
    chunk("a", 0, [0.0, 0.25]),
    chunk("b", 2, [0.0, 0.0]),
)


def write(path: Path, chunks: tuple[SampleChunk, ...] = WHOLE, meta: SampleMeta = META) -> Path:
    write_meta(path, meta)
    for item in chunks:
        append_chunk(path, item)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "evaluation" / "base" / "gcd.jsonl")


def test_chunks_in_any_order_become_one_array(path: Path) -> None:
    samples = read_samples(path)
    assert isinstance(samples, SampleSet)
    assert samples.problem_ids == ("a", "b")
    np.testing.assert_array_equal(samples.rewards, [[0.0, 0.25, 0.5, 1.0], [1.0, 0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(samples.num_tokens, [[0, 1, 2, 3]] * 2)
    assert not samples.truncated.any()
    assert ("b", "b/0 né\n") in list(iter_responses(path))


def test_a_torn_last_line_is_incomplete_and_repairable(path: Path) -> None:
    whole = path.read_bytes()
    for cut in range(1, len(chunk_line(WHOLE[-1]))):
        path.write_bytes(whole[:-cut])
        result = read_samples(path)
        assert isinstance(result, IncompleteSamples)
        assert result.num_done == 6
        assert "6 of 8 samples" in result.reason
    assert repair_torn_tail(path) > 0
    assert count_done(path) == {"a": 4, "b": 2}
    append_chunk(path, WHOLE[-1])
    assert path.read_bytes() == whole
    assert repair_torn_tail(path) == 0


def test_nothing_there_yet_counts_as_none_done(tmp_path: Path) -> None:
    assert count_done(tmp_path / "none.jsonl") == {}
    assert repair_torn_tail(tmp_path / "none.jsonl") == 0


def test_lone_surrogates_and_line_separators_survive(tmp_path: Path) -> None:
    odd = replace(chunk("a", 0, [1.0]), responses=("\ud800 \u2028 \x00 \r\n",))
    path = write(tmp_path / "gcd.jsonl", (odd,))
    assert list(iter_responses(path)) == [("a", "\ud800 \u2028 \x00 \r\n")]


def test_an_interrupted_evaluation_is_left_out_of_the_comparison(path: Path) -> None:
    other = path.parent.parent / "final" / "gcd.jsonl"
    write(other, WHOLE[:3], replace(META, model="final", model_order=2))
    evaluation = read_evaluation([path.parents[2]])
    assert [s.meta.model for s in evaluation.complete] == ["base"]
    assert [i.meta.model for i in evaluation.incomplete] == ["final"]
    assert evaluation.models() == ("base", "final")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{not json}\n", r"gcd.jsonl:5: not a line of JSON"),
        (b"[]\n", r"gcd.jsonl:5: not a chunk of samples"),
        (b"\xff\xfe\n", r"gcd.jsonl:5: not a line of JSON"),
        (chunk_line(chunk("a", 1, [1.0])), r"gcd.jsonl:5: sample 1 of problem 'a' is there twice"),
        (chunk_line(chunk("a", 4, [1.0])), r"gcd.jsonl:5: 5 samples of problem 'a', settings say"),
        (chunk_line(chunk("c", 0, [1.0])), r"gcd.jsonl: samples of 3 problems, settings say 2"),
        (
            chunk_line(replace(chunk("a", 4, [1.0]), responses=("x", "y"))),
            r"gcd.jsonl:5: unequal counts .*'responses': 2",
        ),
        (chunk_line(chunk("a", 4, [1.5])), r"gcd.jsonl:5: reward 1.5 is outside \[0, 1\]"),
        (chunk_line(chunk("a", 4, [float("nan")])), r"gcd.jsonl:5: reward nan is not a finite"),
    ],
)
def test_damage_is_named_with_file_and_line(path: Path, line: bytes, message: str) -> None:
    with path.open("ab") as file:
        file.write(line)
    with pytest.raises(ValueError, match=message) as caught:
        read_samples(path)
    assert "\n" not in str(caught.value)


def test_a_gap_can_not_be_resumed_from(tmp_path: Path) -> None:
    path = write(tmp_path / "gcd.jsonl", (WHOLE[1],))
    with pytest.raises(ValueError, match=r"gcd.jsonl:1: samples of problem 'a' go on at 2"):
        count_done(path)
    assert isinstance(read_samples(path), IncompleteSamples)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 1.0}, r"final.gcd.meta.json: temperature is 1.0 but 0.6 in .*base.gcd"),
        ({"max_new_tokens": 32}, r"max_new_tokens is 32 but 16"),
        ({"task": "lcm"}, r"task is 'lcm' but 'gcd'"),
    ],
)
def test_mixed_settings_are_not_compared(
    path: Path, change: dict[str, object], message: str
) -> None:
    meta = SampleMeta(**{**vars(META), "model": "final", "model_order": 2, **change})
    write(path.parent.parent / "final" / "gcd.jsonl", meta=meta)
    with pytest.raises(ValueError, match=message):
        read_evaluation([path.parents[2]])


def test_unequal_sample_counts_are_not_compared(path: Path) -> None:
    meta = replace(META, model="final", model_order=2, num_samples=2)
    chunks = (chunk("a", 0, [1.0, 1.0]), chunk("b", 0, [1.0, 1.0]))
    write(path.parent.parent / "final" / "gcd.jsonl", chunks, meta)
    with pytest.raises(ValueError, match="num_samples is 2 but 4"):
        read_evaluation([path.parents[2]])


def test_other_problems_are_not_compared(path: Path) -> None:
    meta = replace(META, model="final", model_order=2)
    chunks = tuple(replace(c, problem_id=c.problem_id.replace("b", "x")) for c in WHOLE)
    write(path.parent.parent / "final" / "gcd.jsonl", chunks, meta)
    with pytest.raises(ValueError, match=r"not the problems of .*the first to differ: 'b'"):
        read_evaluation([path.parents[2]])


def test_the_same_model_twice_is_an_error(path: Path, tmp_path: Path) -> None:
    write(tmp_path / "other" / "evaluation" / "base" / "gcd.jsonl")
    with pytest.raises(ValueError, match="model 'base' on 'gcd' is also in"):
        read_evaluation([path.parents[2], tmp_path / "other"])


def test_settings_are_checked(path: Path) -> None:
    with pytest.raises(ValueError, match=r"x.meta.json: missing"):
        read_meta(path.with_name("x.meta.json"))
    values = vars(META)
    for change, message in (
        ({"role": "holdout"}, "role is 'holdout'"),
        ({"num_samples": 0}, "num_samples is 0"),
    ):
        meta_path(path).write_text(json.dumps({**values, **change}))
        with pytest.raises(ValueError, match=message):
            read_samples(path)
    meta_path(path).write_text(json.dumps({k: v for k, v in values.items() if k != "seed"}))
    with pytest.raises(ValueError, match="seed is missing"):
        read_samples(path)
    meta_path(path).write_text("{")
    with pytest.raises(ValueError, match=r"gcd.meta.json:1: not JSON"):
        read_samples(path)


def test_samples_without_settings_are_an_error(path: Path) -> None:
    meta_path(path).unlink()
    with pytest.raises(ValueError, match="can't be compared"):
        read_evaluation([path.parents[2]])


def test_a_folder_of_one_model_serves_too(path: Path) -> None:
    assert len(read_evaluation([path.parent]).complete) == 1
    with pytest.raises(ValueError, match="no such directory"):
        read_evaluation([path.parent / "nowhere"])
