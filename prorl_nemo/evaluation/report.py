"""The report of a run: report.html, and PNG, CSV and JSON beside it in report/.

Works with whatever the run directory holds: metrics.jsonl alone, samples alone, both.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from prorl_nemo.evaluation.boundary import BoundaryAnalysis, analyze
from prorl_nemo.evaluation.drawing import Picture
from prorl_nemo.evaluation.figures import curve_picture
from prorl_nemo.evaluation.history import History, read_history
from prorl_nemo.evaluation.history_figures import history_pictures
from prorl_nemo.evaluation.page import figures_html, page
from prorl_nemo.evaluation.palette import model_styles


def write_report(run_dir: Path) -> Path:
    """Write RUN/report.html and RUN/report/*; returns the path of the page.

    Raises ValueError when the directory holds neither metrics nor samples, and, naming
    file and line, when they are damaged.
    """
    metrics_path = run_dir / "metrics.jsonl"
    history = read_history(metrics_path) if metrics_path.exists() else None
    analysis = analyze([run_dir]) if (run_dir / "evaluation").is_dir() else None
    if history is None and analysis is None:
        raise ValueError(f"{run_dir}: neither metrics.jsonl nor evaluation/ to report on")
    return write_analysis_report(run_dir, analysis=analysis, history=history)


def write_analysis_report(
    output_dir: Path, *, analysis: BoundaryAnalysis | None, history: History | None
) -> Path:
    """Write the report of an analysis into a directory of its own, e.g. for several runs."""
    curves: list[Picture] = []
    if analysis is not None:
        styles = model_styles(analysis.models)
        curves = [curve_picture(b, styles) for b in analysis.benchmarks]
    training = history_pictures(history) if history is not None else []
    html = page(
        title=f"Did the boundary move? {output_dir.name}",
        subtitle="ProRL report",
        sections=[
            ("curves", "pass@k", figures_html(curves)),
            ("training", "Training", figures_html(training)),
        ],
    )
    _write_pictures(output_dir / "report", [*curves, *training])
    path = output_dir / "report.html"
    _write_atomically(path, html.encode("utf-8"))
    return path


def _write_pictures(directory: Path, pictures: Sequence[Picture]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        _write_atomically(directory / f"{picture.name}.png", picture.png)
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(picture.header)
        writer.writerows(picture.rows)
        _write_atomically(directory / f"{picture.name}.csv", text.getvalue().encode("utf-8"))


def _write_atomically(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
