"""Figures of a training run's history: one small chart per question."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from prorl_nemo.evaluation.drawing import (
    LineEnd,
    Picture,
    label_line_ends,
    new_chart,
    render,
    set_title,
)
from prorl_nemo.evaluation.history import History
from prorl_nemo.evaluation.palette import MUTED, RESET

_MIN_SMOOTHED = 40  # values; fewer are drawn as they are
_BLUE, _ORANGE, _GREEN = "#0b67b2", "#c2410c", "#00735c"


@dataclass(frozen=True)
class _Chart:
    """Which columns of the history go into one chart."""

    name: str
    title: str
    unit: str
    columns: tuple[tuple[str, str, str], ...]  # column, label, colour
    from_zero: bool = True


_CHARTS = (
    _Chart("reward", "Reward", "mean reward", (("reward_mean", "reward", _BLUE),)),
    _Chart("validation", "Validation", "score", (("validation_score", "validation", _GREEN),)),
    _Chart("entropy", "Entropy of the policy", "nats per token", (("entropy", "entropy", _BLUE),)),
    _Chart("kl", "KL to the reference", "nats per token", (("kl", "KL", _BLUE),)),
    _Chart(
        "generations",
        "Generations used and wasted",
        "groups per step",
        (("num_groups_generated", "generated", MUTED), ("num_groups_used", "used", _GREEN)),
    ),
    _Chart(
        "response_length",
        "Response length",
        "tokens",
        (("response_length_mean", "mean length", _BLUE),),
    ),
    _Chart("truncated", "Responses cut off", "share", (("truncated_rate", "cut off", _ORANGE),)),
    _Chart(
        "clip_fraction",
        "Tokens clipped",
        "share",
        (("clip_fraction_low", "low", _BLUE), ("clip_fraction_high", "high", _ORANGE)),
    ),
)


def history_pictures(history: History) -> list[Picture]:
    """The charts whose quantities the run recorded."""
    return [_draw(history, c) for c in _CHARTS if any(history.has(n) for n, _, _ in c.columns)]


def _draw(history: History, chart: _Chart) -> Picture:
    figure, axes = new_chart()
    ends, words = [], []
    for column, label, colour in chart.columns:
        steps, values = history.series(column)
        if not len(steps):
            continue
        smooth = _smooth(values, starts=_reset_rows(history, steps))
        _plot_series(axes, steps, values, smooth, colour=colour)
        ends.append(LineEnd(float(smooth[-1]), label, colour))
        words.append(
            f"{label} goes from {values[0]:.3g} at step {steps[0]} to {values[-1]:.3g} at step "
            f"{steps[-1]} (lowest {values.min():.3g}, highest {values.max():.3g})"
        )
    _, high = axes.get_ylim()
    if chart.from_zero and axes.get_ylim()[0] > -0.05 * high:
        axes.set_ylim(bottom=0.0)
    if chart.name == "generations":
        _fill_waste(axes, history)
    _mark_resets(axes, history)
    set_title(axes, chart.title)
    axes.set_xlabel("training step")
    axes.set_ylabel(chart.unit)
    first, last = int(history.steps[0]), int(history.steps[-1])
    axes.set_xlim(first - 0.5, last + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    label_line_ends(axes, ends)
    resets = ", ".join(str(mark.step) for mark in history.resets)
    return render(
        figure,
        name=chart.name,
        title=chart.title,
        alt="; ".join(words) + (f". Reference resets at step {resets}." if resets else "."),
        caption=_caption(history, chart),
        header=("step", *(column for column, _, _ in chart.columns)),
        rows=_rows(history, chart),
    )


def _plot_series(
    axes: Axes,
    steps: NDArray[np.int64],
    values: NDArray[np.float64],
    smooth: NDArray[np.float64],
    *,
    colour: str,
) -> None:
    if len(values) < _MIN_SMOOTHED:
        axes.plot(steps, values, color=colour, marker="o", markersize=3)
        return
    axes.plot(steps, values, color=colour, alpha=0.3, linewidth=0.8)
    axes.plot(steps, smooth, color=colour)


def _reset_rows(history: History, steps: NDArray[np.int64]) -> list[int]:
    """Row of each reset in a series of steps."""
    marks = [mark.step for mark in history.resets]
    return sorted(set(np.searchsorted(steps, np.array(marks, dtype=np.int64)).tolist()))


def _smooth(values: NDArray[np.float64], *, starts: list[int]) -> NDArray[np.float64]:
    """Centred running mean over a twentieth of the run, shorter at the ends.

    Never across a reset (the rows in ``starts``): a KL that falls to 0 must be seen to.
    """
    half = len(values) // 40 if len(values) >= _MIN_SMOOTHED else 0
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    edges = np.array([0, *starts, len(values)])
    piece = np.searchsorted(edges, index, side="right")
    low = np.maximum(index - half, edges[piece - 1])
    high = np.minimum(index + half + 1, edges[piece])
    return np.asarray((sums[high] - sums[low]) / (high - low))


def _fill_waste(axes: Axes, history: History) -> None:
    steps = history.steps
    generated = history.columns.get("num_groups_generated")
    used = history.columns.get("num_groups_used")
    if generated is not None and used is not None:
        axes.fill_between(steps, used, generated, color=MUTED, alpha=0.18, linewidth=0)


def _mark_resets(axes: Axes, history: History) -> None:
    for number, mark in enumerate(history.resets):
        axes.axvline(mark.step, color=RESET, linewidth=1.0, linestyle=(0, (4, 2)))
        if number == 0:
            axes.annotate(
                "reset", (mark.step, 1.0), xycoords=("data", "axes fraction"),
                xytext=(2, -2), textcoords="offset points", color=RESET, va="top", fontsize=7.5,
            )  # fmt: skip


def _caption(history: History, chart: _Chart) -> str:
    steps = max((history.series(column)[0] for column, _, _ in chart.columns), key=len)
    count = len(steps)
    text = f"{count} values, steps {steps[0]} to {steps[-1]}."
    if count >= _MIN_SMOOTHED:
        text += " Pale: every step; strong: running mean over a twentieth of the run."
    if chart.name == "generations" and history.has("num_groups_generated"):
        generated = float(np.nansum(history.columns["num_groups_generated"]))
        if history.has("num_groups_used"):
            used = float(np.nansum(history.columns["num_groups_used"]))
            text += (
                f" {generated:.0f} groups generated, {used:.0f} used "
                f"({1 - used / generated:.0%} held no information or were left over)."
            )
    return text


def _rows(history: History, chart: _Chart) -> list[list[float | int | None]]:
    columns = [
        history.columns.get(name, np.full(len(history.steps), np.nan))
        for name, _, _ in chart.columns
    ]
    return [
        [int(step), *(None if np.isnan(c[i]) else float(c[i]) for c in columns)]
        for i, step in enumerate(history.steps)
    ]
