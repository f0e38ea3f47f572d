"""A model whose programs never end: all of them 0, in bounded time, and said aloud."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from prorl_nemo import finish
from prorl_nemo.config_campaign import Config
from prorl_nemo.config_loading import load_config
from prorl_nemo.evaluation.boundary import analyze
from prorl_nemo.evaluation.sample_files import SampleMeta
from prorl_nemo.evaluation.sampling import SampleBlock, SampledText
from prorl_nemo.finish import EvaluatedModel, evaluate_model
from prorl_nemo.tasks.base import Problem
from prorl_nemo.tasks.sandbox_probe import check_sandbox
from tests.support.campaigns import REPOSITORY

STATUS = check_sandbox()
pytestmark = pytest.mark.skipif(not STATUS.is_usable, reason=STATUS.message)

ENDLESS = "```python\nimport time\nwhile True: time.sleep(1)\n```"
ADDS = "```python\nprint(int(input()) + 1)\n```"
POOL_SECONDS = 2.0  # below the code task's own limits: the pool's is the one that strikes


class Says:
    """A model that gives one answer, whatever it is asked."""

    def __init__(self, text: str) -> None:
        self._text = text

    def sample(self, block: SampleBlock, meta: SampleMeta) -> list[list[SampledText]]:
        said = SampledText(self._text, 9, False)
        return [[said] * block.num_samples for _ in block.problems]

    def close(self) -> None:
        pass


def make_config(folder: Path) -> Config:
    rows = [
        {
            "problem_id": f"p{i}",
            "prompt": "Add one.",
            "answer": "",
            "metadata": {"tests": {"inputs": [f"{i}\n"], "outputs": [f"{i + 1}\n"]}},
        }
        for i in range(2)
    ]
    path = folder / "adding.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        **{"name": "adding", "task": "code", "weight": 1.0, "num_problems": 2, "seed": 0},
        **{"role": "trained", "sweep_group": None, "sweep_value": None},
        "params": {"path": str(path)},
    }
    return load_config(
        REPOSITORY / "conf" / "local.yaml",
        [
            f"prorl.evaluation.tasks={json.dumps([task])}",
            "prorl.evaluation.num_samples=4",
            f"prorl.rewards.timeout_seconds={POOL_SECONDS}",
        ],
    )


def test_a_model_that_always_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"base": ADDS, "final": ENDLESS}

    def make_sampler(config: Config, model: EvaluatedModel, problems: Sequence[Problem]) -> Says:
        return Says(answers[model.name])

    monkeypatch.setattr(finish, "make_sampler", make_sampler)
    config, said = make_config(tmp_path), list[str]()
    start = time.monotonic()
    for order, name in enumerate(answers):
        evaluate_model(config, tmp_path, EvaluatedModel(name, "", order, None), say=said.append)
    assert time.monotonic() - start < 8 * POOL_SECONDS + 30
    assert "evaluate final on adding: 8 of 8 responses scored 0 because of timeout 8" in said
    assert not any("base" in line and "because" in line for line in said)
    (benchmark,) = analyze([tmp_path]).benchmarks
    base, final = benchmark.curves
    assert base.pass_at_k.mean.tolist() == [1.0] * 4
    assert final.pass_at_k.mean.tolist() == [0.0] * 4
