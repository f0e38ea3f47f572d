"""Figures across benchmarks: gain against the base, difficulty sweeps, crossings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from prorl_nemo.evaluation.boundary import BenchmarkAnalysis
from prorl_nemo.evaluation.drawing import (
    LineEnd,
    Picture,
    label_line_ends,
    label_points,
    new_chart,
    render,
    set_title,
)
from prorl_nemo.evaluation.figures import probability_top, set_k_axis, slug
from prorl_nemo.evaluation.gains import GainCorrelation
from prorl_nemo.evaluation.palette import INK, MUTED, ModelStyle

_SOLVED, _LOST = "#0b5d33", "#9a1c1c"


def gain_picture(correlation: GainCorrelation) -> Picture:
    """Gain against the base's position at one k, every benchmark named."""
    k, gains = correlation.k, correlation.gains
    figure, axes = new_chart(height=3.3)
    x = [g.base for g in gains]
    y = [g.gain for g in gains]
    errors = np.array([[g.gain - g.low for g in gains], [g.high - g.gain for g in gains]])
    axes.axhline(0.0, color=MUTED, linewidth=0.8)
    axes.errorbar(
        x, y, yerr=errors, fmt="o", color=INK, ecolor=MUTED, elinewidth=0.8, markersize=4.5
    )
    axes.set_xlim(-0.05, 1.05)
    low, high = min(g.low for g in gains), max(g.high for g in gains)
    axes.set_ylim(min(low, 0.0) - 0.05, max(high, 0.0) + 0.05)
    axes.set_xlabel(f"pass@{k} of the base")
    axes.set_ylabel(f"gain in pass@{k}")
    set_title(axes, f"Gain in pass@{k}")
    label_points(axes, [(g.base, g.gain, g.benchmark) for g in gains])
    words = "; ".join(f"{g.benchmark}: base {g.base:.3f}, gain {g.gain:+.3f}" for g in gains)
    return render(
        figure,
        name=f"gain_at_{k}",
        title=f"Gain in pass@{k} against the base's pass@{k}",
        alt=f"{words}. {correlation_in_words(correlation)}",
        caption=f"{correlation_in_words(correlation)} Bars: 95% intervals over problems.",
        header=("benchmark", "base", "gain", "low", "high", "num_problems"),
        rows=[(g.benchmark, g.base, g.gain, g.low, g.high, g.num_problems) for g in gains],
    )


def correlation_in_words(correlation: GainCorrelation) -> str:
    """Pearson's r with its interval, or why there is none."""
    count = len(correlation.gains)
    if correlation.pearson is None or correlation.low is None or correlation.high is None:
        return f"{count} benchmark{'s' * (count != 1)}: too few for a correlation."
    return (
        f"Pearson r = {correlation.pearson:+.2f} (95% interval {correlation.low:+.2f} to "
        f"{correlation.high:+.2f}), Spearman {correlation.spearman:+.2f}, {count} benchmarks."
    )


def sweep_pictures(
    benchmarks: Sequence[BenchmarkAnalysis], styles: Mapping[str, ModelStyle]
) -> list[Picture]:
    """For each sweep, pass@1 and pass@k at the boundary against difficulty."""
    groups: dict[str, list[BenchmarkAnalysis]] = {}
    for benchmark in benchmarks:
        if benchmark.meta.sweep_group is not None and benchmark.meta.sweep_value is not None:
            groups.setdefault(benchmark.meta.sweep_group, []).append(benchmark)
    pictures = []
    for name, members in groups.items():
        ordered = sorted(members, key=lambda b: b.meta.sweep_value or 0.0)
        for k in sorted({1, min(b.boundary_k for b in ordered)}):
            pictures.append(_sweep_picture(name, ordered, styles, k=k))
    return pictures


def _sweep_picture(
    name: str,
    members: Sequence[BenchmarkAnalysis],
    styles: Mapping[str, ModelStyle],
    *,
    k: int,
) -> Picture:
    figure, axes = new_chart()
    rows, words = _sweep_rows(members, k=k), []
    models = dict.fromkeys(str(row[0]) for row in rows)
    ends = []
    for model in models:
        style = styles[model]
        mine = [row for row in rows if row[0] == model]
        values, means, lows, highs = (np.array([float(r[i]) for r in mine]) for i in (1, 2, 3, 4))
        axes.errorbar(
            values, means, yerr=[means - lows, highs - means], color=style.colour,
            linestyle=style.dash, marker=style.marker, markersize=4, elinewidth=0.8, capsize=2,
        )  # fmt: skip
        ends.append(LineEnd(float(means[-1]), style.label, style.colour))
        words.append(
            f"{style.label} {means[0]:.3f} at {values[0]:g}, {means[-1]:.3f} at {values[-1]:g}"
        )
    top = probability_top(max(float(row[4]) for row in rows))
    axes.set_ylim(-0.02 * top, 1.02 * top)
    axes.set_xticks(sorted({float(row[1]) for row in rows}))
    axes.set_xlabel(name)
    axes.set_ylabel(f"pass@{k}")
    set_title(axes, f"pass@{k} by difficulty")
    label_line_ends(axes, ends)
    sizes = sorted({b.meta.num_problems for b in members})
    return render(
        figure,
        name=f"sweep_{slug(name)}_at_{k}",
        title=f"pass@{k} against difficulty: {name}",
        alt="; ".join(words) + ".",
        caption=(
            f"{' or '.join(str(s) for s in sizes)} problems × {members[0].meta.num_samples} "
            "samples per point; bars: 95% intervals over problems."
        ),
        header=("model", "sweep_value", f"pass_at_{k}", "low", "high", "num_problems"),
        rows=rows,
    )


def _sweep_rows(
    members: Sequence[BenchmarkAnalysis], *, k: int
) -> list[tuple[str, float, float, float, float, int]]:
    return [
        (
            curve.meta.model,
            float(b.meta.sweep_value or 0.0),
            *curve.pass_at_k.at(k - 1),
            b.meta.num_problems,
        )
        for b in members
        for curve in b.curves
    ]


def crossing_picture(benchmark: BenchmarkAnalysis) -> Picture | None:
    """Shares of problems newly solved and newly lost, against the number of samples k."""
    transitions = benchmark.transitions
    if transitions is None:
        return None
    figure, axes = new_chart()
    solved, lost = transitions.newly_solved.share_at_k, transitions.newly_lost.share_at_k
    ks = np.arange(1, len(solved) + 1)
    axes.plot(ks, solved, color=_SOLVED, linestyle="-")
    axes.plot(ks, lost, color=_LOST, linestyle="--")
    set_k_axis(axes, num_samples=len(ks))
    axes.set_ylim(0.0, max(0.1, 1.1 * float(max(solved.max(), lost.max()))))
    axes.set_ylabel("share of problems")
    set_title(axes, benchmark.meta.benchmark)
    ends = [
        LineEnd(float(solved[-1]), "newly solved", _SOLVED),
        LineEnd(float(lost[-1]), "newly lost", _LOST),
    ]
    label_line_ends(axes, ends)
    name = benchmark.meta.benchmark
    return render(
        figure,
        name=f"crossings_{slug(name)}",
        title=f"Newly solved and newly lost on {name}",
        alt=(
            f"Newly solved {solved[0]:.3f} of problems at k = 1, {solved[-1]:.3f} at "
            f"k = {len(ks)}; newly lost {lost[0]:.3f} and {lost[-1]:.3f}."
        ),
        caption=(
            f"{transitions.num_problems} problems × {transitions.num_samples} samples per model."
        ),
        header=("k", "newly_solved", "newly_lost", "num_problems"),
        rows=[
            (int(k), float(s), float(x), transitions.num_problems)
            for k, s, x in zip(ks, solved, lost, strict=True)
        ],
    )
