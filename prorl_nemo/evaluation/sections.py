"""Sections of the report that say what the analysis found: words and tables, as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from prorl_nemo.evaluation.boundary import BenchmarkAnalysis, BoundaryAnalysis, ModelCurve
from prorl_nemo.evaluation.drawing import Cell
from prorl_nemo.evaluation.page import scroll, table
from prorl_nemo.evaluation.palette import ModelStyle
from prorl_nemo.evaluation.paper import published
from prorl_nemo.evaluation.regimes import PairedChange, boundary_k
from prorl_nemo.evaluation.summary import (
    TRUNCATION_WARNING,
    Headline,
    answer_in_words,
    find_warnings,
    judged_benchmarks,
    make_headline,
)
from prorl_nemo.evaluation.transitions import Crossing

Styles = Mapping[str, ModelStyle]

REGIME_NOTES = (
    '<p class="notes">From base to final, models between included. Changes are paired over '
    "problems, with 95% bootstrap intervals and sign-flip p-values. Its change: final against "
    "base, at k = half of the samples. Later change: final against the middle model, p "
    "one-sided. <b>Diminish</b>: the boundary fell. <b>Plateau</b>: it rose, with no later "
    "rise shown. <b>Sustained</b>: it rose, and later training raised it again. "
    "<b>Sharpened</b>: only pass@1 rose. Less than 0.01 has no name. The tests at k and at 1 "
    "share a level of 5% per benchmark (Holm), so where nothing changed at most one benchmark "
    "in 20 is named. Visible: the change that this number of problems shows with 80% "
    "probability.</p>"
)


def answer_section(analysis: BoundaryAnalysis) -> str:
    """The question answered in a sentence, and the four numbers behind it."""
    warnings = "".join(f'<p class="warning">{escape(text)}</p>' for text in find_warnings(analysis))
    judged = judged_benchmarks(analysis)
    if not judged:
        return warnings
    lead = answer_in_words(analysis)
    k = boundary_k(min(b.meta.num_samples for b in judged))
    trained = [b for b in judged if b.meta.role == "trained"]
    unseen = [b for b in judged if b.meta.role == "held_out_task"]
    tiles = [
        _tile(make_headline(group, k=at), name=name)
        for name, group in (("trained tasks", trained), ("unseen tasks", unseen))
        for at in sorted({1, k})
    ]
    return f'<p class="lead">{escape(lead)}</p><div class="tiles">{"".join(tiles)}</div>{warnings}'


def _tile(headline: Headline | None, *, name: str) -> str:
    if headline is None:
        return ""
    return (
        f'<div class="tile"><div class="label">pass@{headline.k}, {name}</div>'
        f'<div class="value">{headline.base:.3f} → {headline.final:.3f}</div>'
        f'<div class="detail">base → final; gain {signed(headline.gain)} '
        f"({signed(headline.low)} to {signed(headline.high)})<br>{headline.num_benchmarks} "
        f"benchmark{'s' * (headline.num_benchmarks != 1)}, {headline.num_problems} problems"
        "</div></div>"
    )


def regime_section(benchmarks: Sequence[BenchmarkAnalysis]) -> str:
    """One row of evidence per benchmark; a table for each number of samples."""
    ks = sorted({b.boundary_k for b in benchmarks})
    tables = [_regime_table([b for b in benchmarks if b.boundary_k == k], k=k) for k in ks]
    return "".join(tables)


def _regime_table(benchmarks: Sequence[BenchmarkAnalysis], *, k: int) -> str:
    rows: list[tuple[Cell, ...]] = []
    for benchmark in benchmarks:
        verdict = benchmark.verdict
        if verdict is None:
            continue
        chain = " → ".join(f"{c.pass_at_k.mean[k - 1]:.3f}" for c in benchmark.curves)
        first = (benchmark.curves[0].pass_at_k.mean[0], benchmark.curves[-1].pass_at_k.mean[0])
        late = verdict.late
        rows.append(
            (
                _benchmark_cell(benchmark),
                f'<span class="badge {verdict.regime}">{_regime_label(verdict.regime)}</span>',
                f"{first[0]:.3f} → {first[1]:.3f}",
                chain,
                _change(verdict.boundary),
                p_value(verdict.boundary.p_value),
                "–" if late is None else _change(late),
                "–" if late is None else p_value(late.p_value),
                f"{verdict.boundary.detectable:.3f}",
            )
        )
    if not rows:
        return ""
    header = (
        "benchmark", "regime", "pass@1", f"boundary: pass@{k}", "its change", "p",
        "later change", "p", "visible",
    )  # fmt: skip
    return scroll(table(header, rows, raw_columns=(0, 1, 4, 6)))


def _benchmark_cell(benchmark: BenchmarkAnalysis) -> str:
    meta = benchmark.meta
    size = f"{meta.num_problems} problems × {meta.num_samples}"
    cut_off = max(c.truncated_rate for c in benchmark.curves)
    note = (
        f"<br><small>up to {cut_off:.0%} cut off</small>" if cut_off >= TRUNCATION_WARNING else ""
    )
    return f"{escape(meta.benchmark)}<br><small>{size}</small>{note}"


def _regime_label(regime: str) -> str:
    return "no change shown" if regime == "none" else regime


def _change(change: PairedChange) -> str:
    interval = f"{signed(change.low)} to {signed(change.high)}"
    return f"{signed(change.mean)}<br><small>{interval}</small>"


def signed(value: float) -> str:
    """With its sign, a real minus sign, and no negative zero."""
    text = f"{value:+.3f}"
    return "0.000" if text in ("-0.000", "+0.000") else text.replace("-", "−")


def p_value(value: float) -> str:
    """Three digits; smaller ones as such."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def crossing_section(benchmarks: Sequence[BenchmarkAnalysis]) -> str:
    """Problems newly solved and newly lost in all samples, against chance."""
    rows: list[tuple[Cell, ...]] = []
    for benchmark in benchmarks:
        transitions = benchmark.transitions
        if transitions is None:
            continue
        rows.append(
            (
                benchmark.meta.benchmark,
                *_crossing_cells(transitions.newly_solved, transitions.num_problems),
                *_crossing_cells(transitions.newly_lost, transitions.num_problems),
                p_value(transitions.net_p_value),
                f"{transitions.num_problems} × {transitions.num_samples}",
            )
        )
    if not rows:
        return ""
    header = (
        "benchmark", "newly solved", "by chance", "p", "newly lost", "by chance", "p",
        "solved vs lost, p", "problems × samples",
    )  # fmt: skip
    return scroll(table(header, rows)) + (
        '<p class="notes">Newly solved: the base never solves the problem in all its samples, the '
        "final model does at least once; newly lost: the reverse. By chance: how many would cross "
        "if both models solved each problem equally often, given the number of correct samples "
        "of both together; p: of at least as many as were seen. Certain: beyond chance one by "
        "one (Holm over problems, 5%). Their ids are in analysis.json.</p>"
    )


def _crossing_cells(crossing: Crossing, num_problems: int) -> tuple[Cell, Cell, Cell]:
    count = len(crossing.problem_ids)
    text = f"{count} ({count / num_problems:.1%}), {len(crossing.certain_ids)} certain"
    return text, f"{crossing.num_by_chance:.1f}", p_value(crossing.p_value)


def score_section(benchmarks: Sequence[BenchmarkAnalysis], styles: Styles) -> str:
    """Scores of every model: mean, pass@1, best of k, tokens, cut off."""
    rows = [_score_row(b, c, styles) for b in benchmarks for c in b.curves]
    if not rows:
        return ""
    header = (
        "benchmark", "model", "mean score", "pass@1", "pass@N", "mean best of N",
        "tokens", "cut off", "problems × samples",
    )  # fmt: skip
    return scroll(table(header, rows, raw_columns=(1,))) + (
        '<p class="notes">With 95% intervals over problems. Mean best of N: the expected highest '
        "score of all samples, where scores are continuous.</p>"
    )


def _score_row(benchmark: BenchmarkAnalysis, curve: ModelCurve, styles: Styles) -> tuple[Cell, ...]:
    return (
        benchmark.meta.benchmark,
        model_name(styles[curve.meta.model]),
        _interval(curve.mean_score.at(0)),
        _interval(curve.pass_at_k.at(0)),
        _interval(curve.pass_at_k.at(-1)),
        "–" if curve.best_of_k is None else _interval(curve.best_of_k.at(-1)),
        f"{curve.mean_tokens:.0f}",
        f"{curve.truncated_rate:.1%}",
        f"{curve.meta.num_problems} × {curve.meta.num_samples}",
    )


def unseen_section(benchmarks: Sequence[BenchmarkAnalysis], styles: Styles) -> str:
    """Tasks that were never trained on: mean score of every model, the paper's beside it."""
    unseen = [b for b in benchmarks if b.meta.role == "held_out_task"]
    if not unseen:
        return ""
    models = list(dict.fromkeys(c.meta.model for b in unseen for c in b.curves))
    rows: list[tuple[Cell, ...]] = []
    for benchmark in unseen:
        scores = {c.meta.model: _interval(c.mean_score.at(0)) for c in benchmark.curves}
        paper = published(benchmark.meta.task) or published(benchmark.meta.benchmark)
        rows.append(
            (
                benchmark.meta.benchmark,
                *(scores.get(m, "–") for m in models),
                f"{benchmark.meta.num_problems} × {benchmark.meta.num_samples}",
                "–" if paper is None else f"{paper.base / 100:.4f} → {paper.final / 100:.4f}",
            )
        )
    header = (
        "task", *(styles[m].label for m in models), "problems × samples",
        "the paper’s, its own models",
    )  # fmt: skip
    return scroll(table(header, rows)) + (
        '<p class="notes">Mean score with 95% intervals over problems. None of these tasks was '
        "in the training data.</p>"
    )


def model_name(style: ModelStyle) -> str:
    """A model's name with its colour before it, as HTML."""
    swatch = f'<span class="swatch" style="background:{style.colour}"></span>'
    return f'<span class="model">{swatch}{escape(style.label)}</span>'


def _interval(values: tuple[float, float, float]) -> str:
    mean, low, high = values
    return f"{mean:.3f} ({low:.3f}–{high:.3f})"
