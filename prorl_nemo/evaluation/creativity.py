"""Creativity index: how little of a model's responses occurs verbatim in a reference corpus.

The index of Lu et al. 2024 (arXiv 2410.04265), which the ProRL paper reports against DOLMA.
A token is covered at length L when some run of L tokens or more that contains it occurs in
the corpus (DJ search); uniqueness at L is the share of tokens not covered; the index is the
sum of uniqueness over L = 5..12. It depends on the corpus and on the tokens, so only
models measured with the same index can be compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from prorl_nemo.evaluation.corpus_index import CorpusIndex
from prorl_nemo.evaluation.samples import SampleSet, iter_responses, read_evaluation

MIN_LENGTH, MAX_LENGTH = 5, 12
RESPONSES_PER_PROBLEM = 4
_BATCH = 256  # texts looked up together


@dataclass(frozen=True)
class CreativityScore:
    """The index of one model on one benchmark, averaged over problems."""

    model: str
    benchmark: str
    mean: float  # 0..MAX_LENGTH - MIN_LENGTH + 1
    low: float  # 95% interval over problems
    high: float
    uniqueness: tuple[float, ...]  # mean, for L = MIN_LENGTH..MAX_LENGTH
    num_problems: int
    num_responses: int
    num_too_short: int  # responses of fewer than MIN_LENGTH tokens, left out


@dataclass(frozen=True)
class CreativityAnalysis:
    """Scores of all models against one corpus."""

    corpus: str
    scores: tuple[CreativityScore, ...]


def uniqueness_by_length(
    match_lengths: NDArray[np.int64],  # [T] longest match from each token
    *,
    min_length: int = MIN_LENGTH,
    max_length: int = MAX_LENGTH,
) -> NDArray[np.float64]:
    """Share of tokens in no matching run of L or more, for L = min_length..max_length.

    A match of more than L tokens is a union of matches of L tokens, so the runs that
    start at each token are all there is to look at. T must not be 0.
    """
    num_tokens = len(match_lengths)
    starts = np.arange(num_tokens)
    result = []
    for length in range(min_length, max_length + 1):
        is_match = match_lengths >= length
        steps = np.zeros(num_tokens + 1, dtype=np.int64)
        np.add.at(steps, starts[is_match], 1)
        np.add.at(steps, starts[is_match] + match_lengths[is_match], -1)
        result.append(float(np.mean(np.cumsum(steps[:-1]) == 0)))
    return np.array(result)


def creativity_index(text: str, index: CorpusIndex) -> float | None:
    """The index of one text; None if it is too short to match at all."""
    (lengths,) = index.match_lengths([text], max_length=MAX_LENGTH)
    if len(lengths) < MIN_LENGTH:
        return None
    return float(uniqueness_by_length(lengths).sum())


def analyze_creativity(
    directories: Sequence[Path],
    index: CorpusIndex,
    *,
    responses_per_problem: int = RESPONSES_PER_PROBLEM,
) -> CreativityAnalysis:
    """Measure the first responses to each problem of every complete benchmark and model."""
    sets = [s for s in read_evaluation(directories).complete if s.meta.role != "sweep"]
    scores = [
        score
        for samples in sets
        if (score := _measure(samples, index, responses_per_problem=responses_per_problem))
    ]
    return CreativityAnalysis(index.description, tuple(scores))


def _measure(
    samples: SampleSet, index: CorpusIndex, *, responses_per_problem: int
) -> CreativityScore | None:
    """None when every response is too short."""
    by_problem: dict[str, list[NDArray[np.float64]]] = {}
    num_too_short = 0
    chosen = _first_responses(samples.path, limit=responses_per_problem)
    for start in range(0, len(chosen), _BATCH):
        batch = chosen[start : start + _BATCH]
        found = index.match_lengths([text for _, text in batch], max_length=MAX_LENGTH)
        for (problem_id, _), lengths in zip(batch, found, strict=True):
            if len(lengths) < MIN_LENGTH:
                num_too_short += 1
            else:
                by_problem.setdefault(problem_id, []).append(uniqueness_by_length(lengths))
    if not by_problem:
        return None
    means = np.array([np.mean(values, axis=0) for values in by_problem.values()])  # [P, L]
    mean, half = float(means.sum(axis=1).mean()), _half_width(means.sum(axis=1))
    return CreativityScore(
        model=samples.meta.model,
        benchmark=samples.meta.benchmark,
        mean=mean,
        low=max(0.0, mean - half),
        high=min(float(means.shape[1]), mean + half),
        uniqueness=tuple(means.mean(axis=0).tolist()),
        num_problems=len(means),
        num_responses=sum(len(values) for values in by_problem.values()),
        num_too_short=num_too_short,
    )


def _first_responses(path: Path, *, limit: int) -> list[tuple[str, str]]:
    num_seen: Counter[str] = Counter()
    chosen = []
    for problem_id, response in iter_responses(path):
        num_seen[problem_id] += 1
        if num_seen[problem_id] <= limit:
            chosen.append((problem_id, response))
    return chosen


def _half_width(values: NDArray[np.float64]) -> float:
    """Half of Student's 95% interval of a mean; infinite for a single value."""
    if len(values) < 2:
        return float("inf")
    t = float(stats.t.ppf(0.975, len(values) - 1))
    return t * float(values.std(ddof=1)) / float(np.sqrt(len(values)))
