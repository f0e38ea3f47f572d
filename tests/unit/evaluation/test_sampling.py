"""Sampling into files: blocks, going on after an interruption, and settings that must agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from prorl_nemo.evaluation.sample_files import SampleMeta, count_done, iter_chunks
from prorl_nemo.evaluation.samples import SampleSet, read_samples
from prorl_nemo.evaluation.sampling import (
    PROBLEMS_PER_BLOCK,
    SAMPLES_PER_BLOCK,
    SampleBlock,
    SampledText,
    sample_benchmark,
)
from prorl_nemo.tasks.base import Problem, Score

NUM_PROBLEMS = PROBLEMS_PER_BLOCK + 3
PROBLEMS = [Problem(f"p{i:02}", "toy", f"question {i}", "") for i in range(NUM_PROBLEMS)]
META = SampleMeta(
    model="base", model_order=0, step=None, benchmark="toy", task="toy", role="trained",
    sweep_value=None, sweep_group=None, num_problems=NUM_PROBLEMS,
    num_samples=2 * SAMPLES_PER_BLOCK, temperature=0.6, top_p=0.95, max_new_tokens=8, seed=1,
)  # fmt: skip


@dataclass
class CountingSampler:
    """Says the number of the sample; stops like a killed process before block ``dies_at``."""

    dies_at: int | None = None
    blocks: list[tuple[int, int]] = field(default_factory=list)

    def sample(self, block: SampleBlock, meta: SampleMeta) -> list[list[SampledText]]:
        if len(self.blocks) == self.dies_at:
            raise KeyboardInterrupt
        self.blocks.append((block.first_problem, block.first_sample))
        numbers = range(block.first_sample, block.first_sample + block.num_samples)
        return [
            [SampledText(f"{problem.problem_id}/{n}", n, n % 2 == 1) for n in numbers]
            for problem in block.problems
        ]

    def close(self) -> None:
        pass


class LastDigitScorer:
    def score_all(self, items: Sequence[tuple[Problem, str]]) -> list[Score]:
        return [Score(int(text[-1]) / 10) for _, text in items]


def sample(path: Path, sampler: CountingSampler, meta: SampleMeta = META) -> list[tuple[int, int]]:
    """What the progress was told."""
    told: list[tuple[int, int]] = []
    sample_benchmark(
        path,
        meta,
        PROBLEMS,
        sampler=sampler,
        scorer=LastDigitScorer(),
        progress=lambda done, total: told.append((done, total)),
    )
    return told


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    sample(tmp_path / "whole" / "toy.jsonl", CountingSampler())
    return (tmp_path / "whole" / "toy.jsonl").read_bytes()


def test_every_sample_is_there_once_with_its_own_reward(tmp_path: Path) -> None:
    path, sampler = tmp_path / "toy.jsonl", CountingSampler()
    told = sample(path, sampler)
    samples = read_samples(path)
    assert isinstance(samples, SampleSet)
    row = [n % 10 / 10 for n in range(32)]
    assert samples.rewards.tolist() == [row] * NUM_PROBLEMS
    assert samples.num_tokens.tolist() == [list(range(32))] * NUM_PROBLEMS
    assert samples.truncated.tolist() == [[n % 2 == 1 for n in range(32)]] * NUM_PROBLEMS
    assert sampler.blocks == [(0, 0), (32, 0), (0, 16), (32, 16)]
    assert told == [(32 * 16, 1120), (560, 1120), (560 + 512, 1120), (1120, 1120)]
    for _, chunk in iter_chunks(path):
        assert chunk is not None
        numbers = range(chunk.first_sample, chunk.first_sample + SAMPLES_PER_BLOCK)
        assert chunk.responses == tuple(f"{chunk.problem_id}/{n}" for n in numbers)


@pytest.mark.parametrize("dies_at", [0, 1, 3])
def test_goes_on_behind_the_last_whole_block(tmp_path: Path, whole: bytes, dies_at: int) -> None:
    path, rest = tmp_path / "toy.jsonl", CountingSampler()
    with pytest.raises(KeyboardInterrupt):
        sample(path, CountingSampler(dies_at=dies_at))
    sample(path, rest)
    assert path.read_bytes() == whole
    assert rest.blocks == [(0, 0), (32, 0), (0, 16), (32, 16)][dies_at:]


def test_a_write_cut_off_anywhere_is_completed_without_repeats(
    tmp_path: Path, whole: bytes
) -> None:
    path = tmp_path / "toy.jsonl"
    sample(path, CountingSampler())
    for cut in (*range(0, len(whole), 4999), len(whole) - 1, len(whole)):
        path.write_bytes(whole[:cut])
        sample(path, CountingSampler())
        assert path.read_bytes() == whole
        assert count_done(path) == {problem.problem_id: 32 for problem in PROBLEMS}


def test_a_whole_file_is_not_sampled_again(tmp_path: Path) -> None:
    path, again = tmp_path / "toy.jsonl", CountingSampler()
    sample(path, CountingSampler())
    told = sample(path, again)
    assert again.blocks == []
    assert told[-1] == (1120, 1120)


def test_more_samples_later_are_those_of_asking_at_once(tmp_path: Path, whole: bytes) -> None:
    path, more = tmp_path / "toy.jsonl", CountingSampler()
    sample(path, CountingSampler(), replace(META, num_samples=SAMPLES_PER_BLOCK))
    sample(path, more)
    assert path.read_bytes() == whole
    assert more.blocks == [(0, 16), (32, 16)]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (META, replace(META, temperature=1.0), "temperature: 0.6 there, 1.0 asked for"),
        (META, replace(META, num_samples=64, seed=2), "seed: 1 there, 2 asked for"),
        (META, replace(META, num_samples=16), "holds 32 samples per problem and can't become 16"),
        (replace(META, num_samples=10), META, "holds 10 samples per problem and can't become 32"),
    ],
)
def test_other_settings_are_refused_and_nothing_is_lost(
    tmp_path: Path, before: SampleMeta, after: SampleMeta, message: str
) -> None:
    path = tmp_path / "toy.jsonl"
    sample(path, CountingSampler(), before)
    content = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        sample(path, CountingSampler(), after)
    assert path.read_bytes() == content
    assert isinstance(read_samples(path), SampleSet)
