"""Scoring beside sampling: it overlaps, keeps its order, and hands errors on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from prorl_nemo.engines.local.engine import LocalEngine
from prorl_nemo.engines.local.scoring import BackgroundScoring
from prorl_nemo.tasks.base import Problem, Score
from tests.support.tiny_policy import EvenScorer, engine_config, make_prompts, write_tiny_policy

PROMPTS = make_prompts("a longer prompt", "b", "seven", "mn")


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_policy(tmp_path_factory.mktemp("policy"))


class WaitingScorer(EvenScorer):
    """The first call waits until the engine has gone on decoding."""

    def __init__(self) -> None:
        self.went_on = threading.Event()
        self.overlapped: list[bool] = []

    def score_all(self, items: Sequence[tuple[Problem, str]]) -> list[Score]:
        if not self.overlapped:
            self.overlapped.append(self.went_on.wait(timeout=20))
        return super().score_all(items)


class FailingScorer(EvenScorer):
    def score_all(self, items: Sequence[tuple[Problem, str]]) -> list[Score]:
        raise RuntimeError("the sandbox is gone")


def test_the_next_chunk_is_decoded_while_one_is_scored(model_path: Path) -> None:
    scorer = WaitingScorer()
    config = engine_config(model_path, "policy.generation.max_batch_tokens=60")
    engine = LocalEngine(config, scorer)
    prefills = 0

    def count(module: object, inputs: object, keywords: dict[str, torch.Tensor]) -> None:
        nonlocal prefills
        prefills += keywords["input_ids"].shape[1] > 1
        if prefills > 1:
            scorer.went_on.set()

    engine._policy.register_forward_pre_hook(count, with_kwargs=True)
    engine.rollout(PROMPTS, step=0)
    assert prefills > 2
    assert scorer.overlapped == [True]


@pytest.mark.parametrize("max_batch_tokens", [60, 10_000])
def test_every_response_gets_its_own_score(model_path: Path, max_batch_tokens: int) -> None:
    config = engine_config(model_path, f"policy.generation.max_batch_tokens={max_batch_tokens}")
    engine = LocalEngine(config, EvenScorer())
    rollouts = engine.rollout(PROMPTS, step=0)
    for row, reward in enumerate(rollouts.rewards.tolist()):
        start, end = int(rollouts.prompt_lengths[row]), int(rollouts.input_lengths[row])
        text = engine._codec.decode_response(rollouts.input_ids[row, start:end].tolist())
        (score,) = EvenScorer().score_all([(PROMPTS[0].problem, text)])
        assert reward == pytest.approx(score.reward)
    assert len(set(rollouts.rewards.tolist())) > 3


def test_what_the_scorer_raises_ends_the_rollout(model_path: Path) -> None:
    engine = LocalEngine(engine_config(model_path), FailingScorer())
    with pytest.raises(RuntimeError, match="the sandbox is gone"):
        engine.rollout(PROMPTS, step=0)


def test_parts_of_a_group_stay_in_order() -> None:
    problems = [group.problem for group in PROMPTS[:2]]
    with BackgroundScoring(EvenScorer(), problems) as scoring:
        scoring.submit(1, ["a"])
        scoring.submit(0, ["ab", "b"])
        scoring.submit(1, ["bb"])
    assert [score.reward for score in scoring.scores()] == [0.5, 1.0, 0.0, 1.0]
