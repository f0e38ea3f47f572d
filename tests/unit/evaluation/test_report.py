"""The analysis and its report, on whatever part of a run's data exists."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from prorl_nemo.evaluation.boundary import analyze
from prorl_nemo.evaluation.report import write_report
from prorl_nemo.evaluation.sample_files import SampleChunk, append_chunk, read_meta, write_meta
from prorl_nemo.evaluation.samples import SampleSet, read_samples
from prorl_nemo.evaluation.summary import answer_in_words
from tests.support.synthetic_run import BENCHMARKS, write_synthetic_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_run(
        tmp_path_factory.mktemp("runs") / "full",
        num_problems=30,
        num_samples=32,
        benchmarks=BENCHMARKS[1:3] + BENCHMARKS[4:7],
    )


def test_analysis_holds_the_numbers_of_the_samples(run: Path) -> None:
    analysis = analyze([run])
    assert analysis.models == ("base", "step_000120", "final")
    names = [b.meta.benchmark for b in analysis.benchmarks]
    assert names == ["chain_sum", "spell_backward", "word_sorting",
                     "spell_backward_3", "spell_backward_6"]  # fmt: skip
    benchmark = analysis.benchmarks[1]
    samples = read_samples(run / "evaluation" / "final" / "spell_backward.jsonl")
    assert isinstance(samples, SampleSet)
    final = benchmark.curves[-1]
    assert final.pass_at_k.mean[0] == pytest.approx(samples.rewards.mean())
    assert final.pass_at_k.mean[-1] == pytest.approx((samples.rewards == 1).any(axis=1).mean())
    assert final.best_of_k is None
    assert benchmark.verdict is not None
    assert benchmark.verdict.regime == "sustained"
    continuous = analysis.benchmarks[2].curves[0]
    assert continuous.best_of_k is not None
    assert continuous.mean_score.mean[0] > continuous.pass_at_k.mean[0]
    assert [g.k for g in analysis.gains] == [1, 16]


@pytest.fixture(scope="module")
def html(run: Path) -> str:
    return write_report(run).read_text()


def test_full_report_has_every_section_and_size(run: Path, html: str) -> None:
    for anchor in ("answer", "regimes", "curves", "crossings", "gains", "unseen", "difficulty",
                   "scores", "training", "paper", "method"):  # fmt: skip
        assert f'<section id="{anchor}"' in html
    assert "30 problems × 32 samples" in html
    assert "The paper’s figures, not yours" in html
    assert not re.search(r'(?:src|href|action)="(?:https?:)?//', html)
    assert "<script" not in html
    assert "@import" not in html
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    files = {p.name for p in (run / "report").iterdir()}
    assert {"regimes.csv", "crossings.csv", "scores.csv"} <= files
    assert {"analysis.json", "pass_at_k_chain_sum.png", "pass_at_k_chain_sum.csv"} <= files
    assert not [name for name in files if name.endswith(".tmp")]


def test_numbers_beside_the_report_are_the_analysis(run: Path, html: str) -> None:
    assert html
    curve = analyze([run]).benchmarks[0].curves[0]
    written = json.loads((run / "report" / "analysis.json").read_text())
    assert written["benchmarks"][0]["curves"][0]["pass_at_k"] == curve.pass_at_k.mean.tolist()
    with (run / "report" / "pass_at_k_chain_sum.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 32
    with (run / "report" / "scores.csv").open() as file:
        scores = list(csv.DictReader(file))
    assert float(scores[0]["pass_at_k"]) == curve.pass_at_k.mean[0]
    assert float(scores[0]["bootstrap_low"]) == curve.bootstrap.low[0]
    with (run / "report" / "regimes.csv").open() as file:
        assert next(r["benchmark"] for r in csv.DictReader(file)) == "chain_sum"
    assert float(rows[31]["pass_at_k"]) == pytest.approx(curve.pass_at_k.mean[31])


def test_the_same_data_gives_the_same_page(run: Path, html: str) -> None:
    assert write_report(run).read_text() == html


def copy_chain_sum(
    run: Path, target: Path, models: tuple[str, ...] = ("base", "step_000120", "final")
) -> None:
    """One benchmark is enough to draw, and quicker."""
    for model in models:
        (target / "evaluation" / model).mkdir(parents=True)
        for path in (run / "evaluation" / model).glob("chain_sum.*"):
            shutil.copy(path, target / "evaluation" / model)


def test_metrics_alone_and_samples_alone_are_enough(run: Path, tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    shutil.copy(run / "metrics.jsonl", tmp_path / "metrics")
    page = write_report(tmp_path / "metrics").read_text()
    assert '<section id="training"' in page
    assert "validation stagnated" in page
    assert '<section id="curves"' not in page
    copy_chain_sum(run, tmp_path / "samples", models=("base",))
    page = write_report(tmp_path / "samples").read_text()
    assert '<section id="curves"' in page
    assert '<section id="regimes"' not in page  # nothing to compare one model with
    with pytest.raises(ValueError, match=r"neither metrics.jsonl nor evaluation/"):
        write_report(tmp_path)


def test_one_row_of_metrics_is_enough(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "reward_mean": 0.5}\n')
    assert "Reward" in write_report(tmp_path).read_text()


def test_an_unfinished_benchmark_is_named_and_not_drawn(run: Path, tmp_path: Path) -> None:
    copy_chain_sum(run, tmp_path)
    path = tmp_path / "evaluation" / "final" / "chain_sum.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    html = write_report(tmp_path).read_text()
    assert "final on chain_sum is left out: 928 of 960 samples, last line cut off" in html
    analysis = analyze([tmp_path])
    assert [c.meta.model for c in analysis.benchmarks[0].curves] == ["base", "step_000120"]


def test_a_model_that_is_always_cut_off_is_a_warned_lower_bound(run: Path, tmp_path: Path) -> None:
    copy_chain_sum(run, tmp_path)
    path = tmp_path / "evaluation" / "final" / "chain_sum.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.unlink()
    for line in lines:
        count = len(line["rewards"])
        zeros = {**line, "rewards": (0.0,) * count, "truncated": (True,) * count}
        append_chunk(path, SampleChunk(**zeros))
    html = write_report(tmp_path).read_text()
    assert "100% of the responses of final on chain_sum were cut off at 16 tokens" in html
    curve = analyze([tmp_path]).benchmarks[0].curves[-1]
    assert curve.pass_at_k.mean.max() == 0.0
    assert 0.0 < curve.pass_at_k.high[-1] < 0.2  # 30 problems can't exclude everything


def test_names_are_escaped(run: Path, tmp_path: Path) -> None:
    copy_chain_sum(run, tmp_path, models=("base",))
    path = tmp_path / "evaluation" / "base" / "chain_sum.jsonl"
    meta = read_meta(path.with_name("chain_sum.meta.json"))
    write_meta(path, replace(meta, benchmark='<img src="x"> & $x_1$', model="a<b>"))
    html = write_report(tmp_path).read_text()
    assert "<img" not in html
    assert "a<b>" not in html


def test_a_single_sample_and_a_single_problem_work(tmp_path: Path) -> None:
    write_synthetic_run(
        tmp_path, num_problems=1, num_samples=1, benchmarks=BENCHMARKS[:2], with_metrics=False
    )
    assert np.isfinite(analyze([tmp_path]).benchmarks[0].curves[0].pass_at_k.mean).all()
    assert write_report(tmp_path).exists()


def test_a_silly_threshold_is_an_error(run: Path) -> None:
    with pytest.raises(ValueError, match=r"threshold must lie in \(0, 1\]"):
        analyze([run], threshold=0.0)


def test_the_answer_in_words(run: Path) -> None:
    words = answer_in_words(analyze([run]))
    assert words.startswith("Of 3 benchmarks, ")
    assert "kept widening to the end on " in words
    assert "The boundary is pass@16" in words
    alone = analyze([run / "evaluation" / "base"])
    assert answer_in_words(alone) == ""
