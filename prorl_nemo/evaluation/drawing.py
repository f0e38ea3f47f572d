"""Small charts as pictures: SVG for the page, PNG and a table of the numbers beside it.

Knows matplotlib and the look; what is drawn is figures.py's. No pyplot: nothing global.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prorl_nemo.evaluation.palette import GRID, INK, MUTED

# Inches. Shown at about 1.3 times this size, so that 8.5 pt of type is 11 px or more.
WIDTH, HEIGHT = 4.3, 2.9

_LOOK: dict[Any, Any] = {  # Any: matplotlib types the keys since 3.11 only
    "font.family": "sans-serif",
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
}

Cell = str | float | int | None


@dataclass(frozen=True)
class Picture:
    """A figure of the report, in words, vectors, pixels and numbers."""

    name: str  # file stem
    title: str
    alt: str  # says what a reader would see, numbers included
    caption: str
    svg: str
    png: bytes
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class LineEnd:
    """A label to be put at the right end of a line."""

    y: float
    text: str
    colour: str


def new_chart(*, width: float = WIDTH, height: float = HEIGHT) -> tuple[Figure, Axes]:
    """An empty chart in the report's look."""
    with mpl.rc_context(_LOOK):
        # Margins in inches, not a layout engine: panels of a grid line up, and it is twice
        # as fast.
        figure = Figure(figsize=(width, height))
        figure.subplots_adjust(
            left=0.64 / width, right=1 - 0.12 / width, bottom=0.44 / height, top=1 - 0.3 / height
        )
        return figure, figure.add_subplot()


def set_title(axes: Axes, text: str) -> None:
    """A bold title, flush with the left end of the axes."""
    axes.set_title(text, loc="left", fontsize=9.5, fontweight="bold", color=INK)


def label_line_ends(axes: Axes, ends: Sequence[LineEnd], *, gap: float = 0.075) -> None:
    """Write labels right of the axes at the height of their line, pushed apart if need be.

    Call it when the limits are final. ``gap`` is the least distance, as a share of the height.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    room = 0.14 + 0.072 * max(len(end.text) for end in ends)  # inches
    figure.subplots_adjust(right=1 - room / float(figure.get_size_inches()[0]))
    low, high = axes.get_ylim()
    shares = [(end.y - low) / (high - low) for end in ends]
    placed = spread_apart(shares, gap=gap)
    for end, share in zip(ends, placed, strict=True):
        axes.text(
            1.02, share, end.text, color=end.colour, transform=axes.transAxes, va="center",
            fontweight="bold", fontsize=8.5,
        )  # fmt: skip


def label_points(axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Write a name beside every point (x, y, name), where it overlaps the fewest others.

    Greedy over eight places around the point, in units of the axes; call it when the limits
    are final.
    """
    (x_low, x_high), (y_low, y_high) = axes.get_xlim(), axes.get_ylim()
    spots = [((x - x_low) / (x_high - x_low), (y - y_low) / (y_high - y_low)) for x, y, _ in points]
    boxes = [(x - 0.015, y - 0.025, x + 0.015, y + 0.025) for x, y in spots]
    for (x, y), (_, _, name) in zip(spots, points, strict=True):
        width, height = 0.017 * len(name) + 0.01, 0.055
        places = [
            (x + dx * (0.02 + width / 2), y + dy * 0.06)
            for dy in (0.0, 1.0, -1.0, 2.0, -2.0)
            for dx in (1.0, -1.0)
        ]
        rectangles = [
            (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2) for cx, cy in places
        ]
        best = min(rectangles, key=lambda r: sum(_overlap(r, b) for b in boxes) + _outside(r))
        boxes.append(best)
        axes.text(
            (best[0] + best[2]) / 2, (best[1] + best[3]) / 2, name, transform=axes.transAxes,
            ha="center", va="center", fontsize=7.5, color=INK,
        )  # fmt: skip


_Box = tuple[float, float, float, float]


def _overlap(one: _Box, other: _Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def _outside(box: _Box) -> float:
    return max(0.0, -box[0]) + max(0.0, box[2] - 1) + max(0.0, -box[1]) + max(0.0, box[3] - 1)


def spread_apart(positions: Sequence[float], *, gap: float) -> list[float]:
    """Positions moved as little as a pass up and a pass down allow, at least ``gap`` apart.

    They stay within 0..1 where that many fit.
    """
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    placed = [min(max(positions[i], 0.0), 1.0) for i in order]
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + gap)
    ceiling = 1.0
    for i in range(len(placed) - 1, -1, -1):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    result = [0.0] * len(placed)
    for place, i in zip(placed, order, strict=True):
        result[i] = place
    return result


def render(
    figure: Figure,
    *,
    name: str,
    title: str,
    alt: str,
    caption: str,
    header: Sequence[str],
    rows: Sequence[Sequence[Cell]],
) -> Picture:
    """Draw the chart once as SVG and once as PNG."""
    with mpl.rc_context({**_LOOK, "svg.hashsalt": name}):
        vector, pixels = io.StringIO(), io.BytesIO()
        figure.savefig(vector, format="svg", metadata={"Date": None})
        figure.savefig(pixels, format="png", dpi=160, metadata={"Software": None})
    return Picture(
        name=name,
        title=title,
        alt=alt,
        caption=caption,
        svg=_inline_svg(vector.getvalue(), prefix=name),
        png=pixels.getvalue(),
        header=tuple(header),
        rows=tuple(tuple(row) for row in rows),
    )


def _inline_svg(document: str, *, prefix: str) -> str:
    """The <svg> element alone, its ids made unique on the page, its size left to the page."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}-', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}-", svg)
    head, _, rest = svg.partition(">")
    head = re.sub(r' (width|height|version|xmlns:xlink|xmlns)="[^"]*"', "", head)
    return f'{head} aria-hidden="true" focusable="false">{rest.replace("xlink:href", "href")}'
