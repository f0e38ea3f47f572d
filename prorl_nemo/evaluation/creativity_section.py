"""The report's section on the creativity index: one figure and one table."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np

from prorl_nemo.evaluation.creativity import MAX_LENGTH, MIN_LENGTH, CreativityAnalysis
from prorl_nemo.evaluation.drawing import (
    LineEnd,
    Picture,
    label_line_ends,
    new_chart,
    render,
    set_title,
)
from prorl_nemo.evaluation.page import scroll, table
from prorl_nemo.evaluation.palette import ModelStyle
from prorl_nemo.evaluation.sections import model_name


def creativity_picture(creativity: CreativityAnalysis, styles: Mapping[str, ModelStyle]) -> Picture:
    """The index of every model on every benchmark, benchmarks as rows."""
    benchmarks = list(dict.fromkeys(s.benchmark for s in creativity.scores))
    models = [m for m in styles if any(s.model == m for s in creativity.scores)]
    figure, axes = new_chart(height=1.3 + 0.32 * len(benchmarks))
    figure.subplots_adjust(left=min(0.5, (0.2 + 0.07 * max(map(len, benchmarks))) / 4.3))
    ends = []
    for number, model in enumerate(models):
        style = styles[model]
        mine = [s for s in creativity.scores if s.model == model]
        rows = np.array([benchmarks.index(s.benchmark) for s in mine])
        shift = 0.18 * (number - (len(models) - 1) / 2)
        means = np.array([s.mean for s in mine])
        errors = np.array([[s.mean - s.low for s in mine], [s.high - s.mean for s in mine]])
        axes.errorbar(
            means, rows + shift, xerr=errors, fmt=style.marker, color=style.colour,
            markersize=4.5, elinewidth=0.9,
        )  # fmt: skip
        ends.append(LineEnd(float(rows.min() + shift), style.label, style.colour))
    axes.set_ylim(len(benchmarks) - 0.4, -0.9)
    axes.set_yticks(range(len(benchmarks)), benchmarks)
    axes.set_xlim(-0.1, MAX_LENGTH - MIN_LENGTH + 1.1)
    axes.set_xlabel("creativity index")
    set_title(axes, "Creativity index")
    label_line_ends(axes, ends, gap=0.15 / (0.56 + 0.32 * len(benchmarks)))
    words = "; ".join(
        f"{s.benchmark}, {styles[s.model].label}: {s.mean:.2f}" for s in creativity.scores
    )
    return render(
        figure,
        name="creativity",
        title="Creativity index",
        alt=f"{words}.",
        caption=(
            f"Against {creativity.corpus}; {sum(s.num_responses for s in creativity.scores):,} "
            "responses. Bars: 95% intervals over problems."
        ),
        header=("benchmark", "model", "index", "low", "high", "num_problems", "num_responses"),
        rows=[
            (s.benchmark, s.model, s.mean, s.low, s.high, s.num_problems, s.num_responses)
            for s in creativity.scores
        ],
    )


def creativity_table(creativity: CreativityAnalysis, styles: Mapping[str, ModelStyle]) -> str:
    """The index with intervals and sizes, and what it means, as HTML."""
    rows = [
        (
            s.benchmark,
            model_name(styles[s.model]),
            f"{s.mean:.2f} ({s.low:.2f}–{s.high:.2f})",
            f"{s.uniqueness[0]:.3f}",
            f"{s.uniqueness[-1]:.3f}",
            f"{s.num_responses} / {s.num_problems}",
            s.num_too_short,
        )
        for s in creativity.scores
    ]
    header = (
        "benchmark", "model", "index", f"unique at {MIN_LENGTH}", f"unique at {MAX_LENGTH}",
        "responses / problems", "too short",
    )  # fmt: skip
    return scroll(table(header, rows, raw_columns=(1,))) + (
        f'<p class="notes">Against {escape(creativity.corpus)}. Unique at L: the share of tokens '
        "in no run of L tokens or more that occurs verbatim in the corpus (DJ search, Lu et al. "
        f"2024); the index is its sum over L = {MIN_LENGTH} to {MAX_LENGTH}, from 0 (all copied) "
        f"to {MAX_LENGTH - MIN_LENGTH + 1}. It depends on the corpus and on the tokens: compare "
        "models here with each other, not with the paper’s values.</p>"
    )
