"""Figures of the boundary analysis: pass@k curves and the rest, models in their colours."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from prorl_nemo.evaluation.boundary import BenchmarkAnalysis, ModelCurve
from prorl_nemo.evaluation.drawing import (
    LineEnd,
    Picture,
    label_line_ends,
    new_chart,
    render,
    set_title,
)
from prorl_nemo.evaluation.intervals import MeanInterval
from prorl_nemo.evaluation.palette import ModelStyle


def slug(name: str) -> str:
    """A name as a file stem and an id: letters, digits, - and _ only."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "unnamed"


def curve_picture(benchmark: BenchmarkAnalysis, styles: Mapping[str, ModelStyle]) -> Picture:
    """pass@k of every model on one benchmark, with 95% intervals, k on a log axis."""
    figure, axes = new_chart()
    ends, words = [], []
    for curve in benchmark.curves:
        style = styles[curve.meta.model]
        _plot_curve(axes, curve.pass_at_k, style)
        ends.append(LineEnd(float(curve.pass_at_k.mean[-1]), style.label, style.colour))
        words.append(f"{style.label} {_ends_in_words(curve.pass_at_k)}")
    num_samples = benchmark.meta.num_samples
    set_k_axis(axes, num_samples=num_samples)
    top = probability_top(max(float(c.pass_at_k.high.max()) for c in benchmark.curves))
    axes.set_ylim(-0.02 * top, 1.02 * top)
    axes.set_ylabel("pass@k")
    set_title(axes, benchmark.meta.benchmark)
    label_line_ends(axes, ends)
    meta = benchmark.meta
    return render(
        figure,
        name=f"pass_at_k_{slug(meta.benchmark)}",
        title=f"pass@k on {meta.benchmark}",
        alt=f"pass@k against k from 1 to {num_samples}: " + "; ".join(words) + ".",
        caption=(
            f"{meta.num_problems} problems × {meta.num_samples} samples per model; "
            "bands: 95% intervals over problems."
        ),
        header=("model", "k", "pass_at_k", "low", "high", "num_problems", "num_samples"),
        rows=[row for curve in benchmark.curves for row in _curve_rows(curve)],
    )


def probability_top(highest: float) -> float:
    """Upper end of an axis of probabilities: 1, or less where all values are small."""
    return next(top for top in (0.1, 0.2, 0.5, 1.0) if highest <= 0.95 * top or top == 1.0)


def set_k_axis(axes: Axes, *, num_samples: int) -> None:
    """k on a base-2 logarithmic axis with whole numbers as labels."""
    axes.set_xscale("log", base=2)
    exponents = np.arange(int(np.floor(np.log2(num_samples))) + 1)
    shown = exponents if len(exponents) <= 6 else exponents[::2]
    axes.set_xticks(2.0**shown, [str(2 ** int(e)) for e in shown])
    axes.set_xticks([], minor=True)
    axes.set_xlim(2**-0.1, max(num_samples, 2) * 1.05)
    axes.set_xlabel("k (samples per problem)")


def _plot_curve(axes: Axes, interval: MeanInterval, style: ModelStyle) -> None:
    ks = np.arange(1, len(interval.mean) + 1)
    axes.fill_between(ks, interval.low, interval.high, color=style.colour, alpha=0.13, linewidth=0)
    axes.plot(ks, interval.mean, color=style.colour, linestyle=style.dash)
    powers = 2 ** np.arange(int(np.log2(len(ks))) + 1)
    axes.plot(
        powers, interval.mean[powers - 1], color=style.colour, linestyle="none",
        marker=style.marker, markersize=3.5,
    )  # fmt: skip


def _ends_in_words(interval: MeanInterval) -> str:
    mean, low, high = interval.at(0)
    last, last_low, last_high = interval.at(-1)
    return (
        f"from {mean:.3f} (95% interval {low:.3f} to {high:.3f}) at k = 1 "
        f"to {last:.3f} ({last_low:.3f} to {last_high:.3f}) at k = {len(interval.mean)}"
    )


def _curve_rows(curve: ModelCurve) -> list[tuple[str | float | int, ...]]:
    interval, meta = curve.pass_at_k, curve.meta
    return [
        (meta.model, k + 1, *interval.at(k), meta.num_problems, meta.num_samples)
        for k in range(len(interval.mean))
    ]
