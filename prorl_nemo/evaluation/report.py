"""The report of a run: report.html, and PNG, CSV and JSON beside it in report/.

Works with whatever the run directory holds: metrics.jsonl alone, samples alone, both.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from prorl_nemo.evaluation.boundary import BenchmarkAnalysis, BoundaryAnalysis, analyze
from prorl_nemo.evaluation.comparison_figures import crossing_picture, gain_picture, sweep_pictures
from prorl_nemo.evaluation.corpus_index import CorpusIndex
from prorl_nemo.evaluation.creativity import CreativityAnalysis, analyze_creativity
from prorl_nemo.evaluation.creativity_section import creativity_picture, creativity_table
from prorl_nemo.evaluation.drawing import Cell, Picture
from prorl_nemo.evaluation.figures import curve_picture
from prorl_nemo.evaluation.history import History, read_history
from prorl_nemo.evaluation.history_figures import history_pictures
from prorl_nemo.evaluation.notes import method_section, paper_section, reset_section
from prorl_nemo.evaluation.page import Section, figures_html, page
from prorl_nemo.evaluation.palette import model_styles
from prorl_nemo.evaluation.sections import (
    REGIME_NOTES,
    answer_section,
    crossing_section,
    regime_section,
    score_section,
    unseen_section,
)
from prorl_nemo.evaluation.summary import analysis_to_json
from prorl_nemo.evaluation.tables import make_tables


def write_report(run_dir: Path, *, corpus: CorpusIndex | None = None) -> Path:
    """Write RUN/report.html and RUN/report/*; returns the path of the page.

    With a corpus, the creativity index of the responses is measured against it.

    Raises ValueError when the directory holds neither metrics nor samples, and, naming
    file and line, when they are damaged.
    """
    metrics_path = run_dir / "metrics.jsonl"
    history = read_history(metrics_path) if metrics_path.exists() else None
    analysis = analyze([run_dir]) if (run_dir / "evaluation").is_dir() else None
    if history is None and analysis is None:
        raise ValueError(f"{run_dir}: neither metrics.jsonl nor evaluation/ to report on")
    creativity = None
    if corpus is not None and analysis is not None:
        creativity = analyze_creativity([run_dir], corpus)
    return write_analysis_report(run_dir, analysis=analysis, history=history, creativity=creativity)


def write_analysis_report(
    output_dir: Path,
    *,
    analysis: BoundaryAnalysis | None,
    history: History | None = None,
    creativity: CreativityAnalysis | None = None,
) -> Path:
    """Write the report of an analysis into a directory, e.g. one of its own for several runs."""
    pictures: list[Picture] = []
    sections: list[Section] = []
    if analysis is not None:
        sections += _boundary_sections(analysis, pictures)
    if analysis is not None and creativity is not None and creativity.scores:
        styles = model_styles(analysis.models)
        picture = creativity_picture(creativity, styles)
        pictures.append(picture)
        inner = figures_html([picture]) + creativity_table(creativity, styles)
        sections.append(Section("creativity", "Creativity index", inner))
    if history is not None:
        training = history_pictures(history)
        pictures += training
        sections.append(
            Section("training", "Training", figures_html(training) + reset_section(history))
        )
    sections.append(Section("paper", "The paper’s figures", paper_section()))
    if analysis is not None and analysis.benchmarks:
        sections.append(Section("method", "How this was measured", method_section(analysis)))
    html = page(
        title="Did the boundary move?",
        subtitle=_subtitle(output_dir, analysis=analysis, history=history),
        sections=sections,
    )
    directory = output_dir / "report"
    directory.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        _write_atomically(directory / f"{picture.name}.png", picture.png)
        _write_csv(directory / f"{picture.name}.csv", picture.header, picture.rows)
    if analysis is not None:
        _write_json(directory / "analysis.json", analysis_to_json(analysis))
        for table in make_tables(analysis):
            _write_csv(directory / f"{table.name}.csv", table.header, table.rows)
    if creativity is not None:
        _write_json(directory / "creativity.json", asdict(creativity))
    path = output_dir / "report.html"
    _write_atomically(path, html.encode("utf-8"))
    return path


def _boundary_sections(analysis: BoundaryAnalysis, pictures: list[Picture]) -> list[Section]:
    """Sections of the analysis in reading order; their figures are added to ``pictures``."""
    styles = model_styles(analysis.models)
    single = [b for b in analysis.benchmarks if b.meta.role != "sweep"]
    sweeps = [b for b in analysis.benchmarks if b.meta.role == "sweep"]
    curves = [curve_picture(b, styles) for b in single]
    crossings = [p for b in single if (p := crossing_picture(b)) is not None]
    gains = [gain_picture(g) for g in analysis.gains]
    difficulty = sweep_pictures(sweeps, styles)
    sweep_curves = [curve_picture(b, styles) for b in sweeps]
    pictures += [*curves, *crossings, *gains, *difficulty, *sweep_curves]
    regimes = regime_section(single)
    return [
        Section("answer", "", answer_section(analysis)),
        Section("regimes", "Regimes", regimes + REGIME_NOTES if regimes else ""),
        Section("curves", "pass@k", figures_html(curves)),
        Section(
            "crossings",
            "Problems newly solved and newly lost",
            crossing_section(single) + figures_html(crossings),
        ),
        Section("gains", "Gain against the base", figures_html(gains)),
        Section("unseen", "Tasks never trained on", unseen_section(single, styles)),
        Section(
            "difficulty",
            "Difficulty sweep",
            figures_html(difficulty) + regime_section(sweeps) + figures_html(sweep_curves),
        ),
        Section("scores", "Scores", score_section(analysis.benchmarks, styles)),
    ]


def _subtitle(
    directory: Path, *, analysis: BoundaryAnalysis | None, history: History | None
) -> str:
    parts = [f"ProRL report of {directory.resolve().name}"]
    if history is not None and len(history.steps):
        parts.append(f"{history.steps[-1]} training steps, {len(history.resets)} reference resets")
    if analysis is not None and analysis.benchmarks:
        num_responses = sum(_num_responses(b) for b in analysis.benchmarks)
        parts.append(
            f"{len(analysis.models)} models on {len(analysis.benchmarks)} benchmarks, "
            f"{num_responses:,} responses"
        )
    return " · ".join(parts)


def _num_responses(benchmark: BenchmarkAnalysis) -> int:
    return len(benchmark.curves) * benchmark.meta.num_problems * benchmark.meta.num_samples


def _write_json(path: Path, value: dict[str, object]) -> None:
    _write_atomically(path, (json.dumps(value, indent=1) + "\n").encode("utf-8"))


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    _write_atomically(path, text.getvalue().encode("utf-8"))


def _write_atomically(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
