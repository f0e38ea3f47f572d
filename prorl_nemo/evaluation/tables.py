"""The report's tables as numbers, for CSV: one row per benchmark, or per benchmark and model."""

from __future__ import annotations

from dataclasses import dataclass

from prorl_nemo.evaluation.boundary import BenchmarkAnalysis, BoundaryAnalysis, ModelCurve
from prorl_nemo.evaluation.drawing import Cell


@dataclass(frozen=True)
class Table:
    """A table of unrounded numbers."""

    name: str  # file stem
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def make_tables(analysis: BoundaryAnalysis) -> list[Table]:
    """Regimes, crossings and scores, the latter with both kinds of interval."""
    judged = [b for b in analysis.benchmarks if b.verdict is not None]
    return [
        Table(
            "regimes",
            (
                "benchmark", "role", "regime", "boundary_k", "change", "low", "high", "p_value",
                "late_change", "late_low", "late_high", "late_p_value", "first_change",
                "first_p_value", "detectable", "num_problems", "num_samples",
            ),
            tuple(_regime_row(b) for b in judged),
        ),
        Table(
            "crossings",
            (
                "benchmark", "newly_solved", "solved_certain", "solved_by_chance", "solved_p_value",
                "newly_lost", "lost_certain", "lost_by_chance", "lost_p_value", "net_p_value",
                "num_problems", "num_samples",
            ),
            tuple(_crossing_row(b) for b in judged),
        ),
        Table(
            "scores",
            (
                "benchmark", "model", "step", "mean_score", "mean_score_low", "mean_score_high",
                "k", "pass_at_k", "analytic_low", "analytic_high", "bootstrap_low",
                "bootstrap_high", "best_of_k", "mean_tokens", "truncated_rate", "num_problems",
                "num_samples",
            ),
            tuple(
                _score_row(c, k=k)
                for b in analysis.benchmarks
                for c in b.curves
                for k in sorted({1, b.boundary_k, b.meta.num_samples})
            ),
        ),
    ]  # fmt: skip


def _regime_row(benchmark: BenchmarkAnalysis) -> tuple[Cell, ...]:
    verdict, meta = benchmark.verdict, benchmark.meta
    assert verdict is not None
    moved, late = verdict.boundary, verdict.late
    return (
        meta.benchmark, meta.role, verdict.regime, moved.k, moved.mean, moved.low, moved.high,
        moved.p_value, *((None,) * 4 if late is None
                         else (late.mean, late.low, late.high, late.p_value)),
        verdict.first.mean, verdict.first.p_value, moved.detectable, meta.num_problems,
        meta.num_samples,
    )  # fmt: skip


def _crossing_row(benchmark: BenchmarkAnalysis) -> tuple[Cell, ...]:
    found, meta = benchmark.transitions, benchmark.meta
    assert found is not None
    cells = [
        (len(c.problem_ids), len(c.certain_ids), c.num_by_chance, c.p_value)
        for c in (found.newly_solved, found.newly_lost)
    ]
    return (
        meta.benchmark, *cells[0], *cells[1], found.net_p_value, meta.num_problems,
        meta.num_samples,
    )  # fmt: skip


def _score_row(curve: ModelCurve, *, k: int) -> tuple[Cell, ...]:
    meta = curve.meta
    best = None if curve.best_of_k is None else float(curve.best_of_k.mean[k - 1])
    return (
        meta.benchmark, meta.model, meta.step, *curve.mean_score.at(0), k,
        *curve.pass_at_k.at(k - 1), *curve.bootstrap.at(k - 1)[1:], best, curve.mean_tokens,
        curve.truncated_rate, meta.num_problems, meta.num_samples,
    )  # fmt: skip
