"""HTML building blocks of the report: one self-contained page, no script, no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from prorl_nemo.evaluation.drawing import Cell, Picture

_MAX_INLINE_ROWS = 300

# The browser itself refuses scripts and any request.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

_STYLE = """
:root { --ink:#1f2328; --muted:#59636e; --line:#d5dae0; --soft:#f5f7f9; --link:#0b57a4; }
* { box-sizing:border-box; }
body { margin:0; color:var(--ink); background:#fff; font:16px/1.55 system-ui, -apple-system,
  "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
main, header, footer { max-width:1180px; margin:0 auto; padding:0 24px; }
header { padding-top:36px; }
h1 { font-size:30px; line-height:1.2; margin:0 0 6px; letter-spacing:-.01em; }
h2 { font-size:21px; margin:44px 0 6px; padding-top:14px; border-top:1px solid var(--line); }
h3 { font-size:16px; margin:22px 0 4px; }
p { margin:6px 0 12px; max-width:76ch; }
.lead { font-size:18px; }
.muted, figcaption, .notes { color:var(--muted); font-size:14px; }
a { color:var(--link); }
#answer { margin-top:22px; }
nav ul { list-style:none; display:flex; flex-wrap:wrap; gap:4px 18px; padding:0; margin:14px 0 0;
  font-size:14px; }
.tiles { display:grid; grid-template-columns:repeat(auto-fit,minmax(210px,1fr)); gap:14px;
  margin:20px 0; }
.tile { border:1px solid var(--line); border-radius:8px; padding:12px 16px; background:#fff; }
.tile .value { font-size:26px; font-weight:650; line-height:1.25; }
.tile .label { font-size:14px; font-weight:600; }
.tile .detail { font-size:13px; color:var(--muted); }
.figures { display:grid; grid-template-columns:repeat(auto-fill,minmax(min(340px,100%),1fr));
  gap:18px 26px; margin:14px 0; }
figure { margin:0; min-width:0; break-inside:avoid; }
figure svg { display:block; width:100%; height:auto; max-width:520px; font-family:inherit; }
figure svg text { font-family:system-ui, -apple-system, "Segoe UI", Arial, sans-serif !important; }
details { font-size:14px; margin-top:2px; }
summary { cursor:pointer; color:var(--link); }
.scroll { overflow-x:auto; max-width:100%; }
.scroll.tall { max-height:340px; overflow-y:auto; border:1px solid var(--line); }
table { border-collapse:collapse; font-size:13.5px; margin:8px 0; }
caption { text-align:left; color:var(--muted); font-size:14px; padding-bottom:4px; }
th, td { padding:5px 12px 5px 0; text-align:left; vertical-align:top;
  border-bottom:1px solid var(--line); }
thead th { border-bottom:2px solid var(--muted); font-weight:600; }
td:first-child, td small { white-space:nowrap; }
td.number, th.number { text-align:right; font-variant-numeric:tabular-nums; white-space:nowrap; }
td small { color:var(--muted); font-size:12px; }
.model { white-space:nowrap; }
.swatch { display:inline-block; width:.75em; height:.75em; border-radius:2px; margin-right:.4em; }
.badge { display:inline-block; padding:1px 9px; border-radius:10px; font-weight:600;
  font-size:13px; border:1px solid; white-space:nowrap; }
.badge.diminish { color:#9a1c1c; background:#fdeeee; }
.badge.plateau { color:#6b4e00; background:#fdf5dd; }
.badge.sustained, .badge.widened { color:#0b5d33; background:#e8f6ee; }
.badge.sharpened { color:#0b4f8a; background:#e9f2fb; }
.badge.none { color:#59636e; background:#f5f7f9; }
.warning { border-left:4px solid #b54708; background:#fff6ed; padding:10px 14px; margin:14px 0; }
.paper { border-left:4px solid #8f3f97; background:#faf5fb; padding:6px 16px 12px; margin:14px 0; }
footer { padding-top:20px; padding-bottom:40px; color:var(--muted); font-size:13.5px; }
@media (max-width:520px) { main, header, footer { padding-left:14px; padding-right:14px; }
  h1 { font-size:24px; } th, td { padding-right:8px; } table { font-size:13.5px; } }
@page { size:A4; margin:14mm; }
@media print { body { font-size:10.5pt; } nav, details { display:none; }
  main, header, footer { max-width:none; padding-left:0; padding-right:0; }
  .figures { grid-template-columns:1fr 1fr; } h2, h3 { break-after:avoid; }
  tr, .tile { break-inside:avoid; } .scroll { overflow:visible; } table { font-size:9pt; }
  .tiles { grid-template-columns:repeat(2,1fr); }
  body { -webkit-print-color-adjust:exact; print-color-adjust:exact; } }
"""


@dataclass(frozen=True)
class Section:
    """A part of the page; the heading is text, the inner part HTML. Left out when empty."""

    anchor: str
    heading: str  # may be empty: then it is not in the navigation either
    inner: str


def page(*, title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The whole document."""
    there = [s for s in sections if s.inner]
    links = "".join(
        f'<li><a href="#{s.anchor}">{escape(s.heading)}</a></li>' for s in there if s.heading
    )
    bodies = "".join(
        f'<section id="{s.anchor}" aria-label="{escape(s.heading or title)}">'
        + (f"<h2>{escape(s.heading)}</h2>" if s.heading else "")
        + f"{s.inner}</section>\n"
        for s in there
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<header><h1>{escape(title)}</h1><p class="muted">{escape(subtitle)}</p>'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>\n'
        f"<main>\n{bodies}</main>\n"
        "<footer>Numbers behind every figure lie beside this file in report/ as CSV and JSON, "
        "the figures as PNG.</footer>\n</body>\n</html>\n"
    )


def figure_html(picture: Picture) -> str:
    """A figure with its text alternative and its numbers as a table that can be opened."""
    shown = picture.rows[:_MAX_INLINE_ROWS]
    cut = (
        f"<p>The first {len(shown)} of {len(picture.rows)} rows; all in {picture.name}.csv.</p>"
        if len(shown) < len(picture.rows)
        else ""
    )
    # The title is drawn in the picture; role=img with a label replaces the drawing for
    # screen readers.
    return (
        f'<figure id="{escape(picture.name)}">'
        f'<div role="img" aria-label="{escape(picture.title)}. {escape(picture.alt)}">'
        f"{picture.svg}</div><figcaption>{escape(picture.caption)}</figcaption>"
        f"<details><summary>Numbers of “{escape(picture.title)}”</summary>{cut}"
        f'<div class="scroll tall" tabindex="0">{table(picture.header, shown)}</div>'
        "</details></figure>"
    )


def figures_html(pictures: Sequence[Picture]) -> str:
    """A grid of figures; nothing for none."""
    if not pictures:
        return ""
    return f'<div class="figures">{"".join(figure_html(p) for p in pictures)}</div>'


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    caption: str = "",
    raw_columns: Sequence[int] = (),
) -> str:
    """A table; numbers right-aligned. Cells of ``raw_columns`` are HTML already, left-aligned."""
    is_number = [
        bool(rows) and i not in raw_columns and all(_looks_numeric(row[i]) for row in rows)
        for i in range(len(header))
    ]
    css = [' class="number"' if n else "" for n in is_number]
    head = "".join(f'<th scope="col"{c}>{escape(h)}</th>' for h, c in zip(header, css, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{css[i]}>{cell if i in raw_columns else escape(format_cell(cell))}</td>"
            for i, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def scroll(inner: str) -> str:
    """Lets a wide table scroll by itself on a narrow screen."""
    return f'<div class="scroll" tabindex="0">{inner}</div>'


def format_cell(cell: Cell) -> str:
    """A cell as text; floats with four significant digits, nothing for None."""
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return str(cell)


def _looks_numeric(cell: Cell) -> bool:
    return not isinstance(cell, str) or cell[:1].isdigit() or cell[:1] in tuple("+−<–")
