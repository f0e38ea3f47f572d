"""Sections of the report that hold no result of the user: the paper's figures, the method."""

from __future__ import annotations

from prorl_nemo.evaluation import paper
from prorl_nemo.evaluation.boundary import BoundaryAnalysis
from prorl_nemo.evaluation.history import History
from prorl_nemo.evaluation.page import scroll, table


def paper_section() -> str:
    """The published results, marked as such."""
    rows = [(r.domain, r.benchmark, f"{r.base:.2f}", f"{r.final:.2f}", f"{r.final - r.base:+.2f}")
            for r in paper.PUBLISHED_RESULTS]  # fmt: skip
    creativity = " → ".join(f"{value:.2f}" for value in paper.CREATIVITY_INDEX)
    results = table(
        ("domain", "benchmark", paper.BASE_MODEL, paper.FINAL_MODEL, "difference"),
        rows,
        caption="Percent, as published. Not measured here, and at another scale than your run.",
    )
    return (
        '<div class="paper"><p><b>The paper’s figures, not yours.</b> ProRL, arXiv 2505.24864. '
        f"Protocol: {paper.PROTOCOL}.</p>{scroll(results)}"
        f"<p>Creativity index against DOLMA: {creativity}. Regimes of pass@k: {paper.REGIMES}. "
        f"Correlation: {paper.GAIN_CORRELATION}.</p></div>"
    )


def method_section(analysis: BoundaryAnalysis) -> str:
    """How the numbers were made: settings, estimator, intervals."""
    settings = [
        (
            b.meta.benchmark, b.meta.task, b.meta.role.replace("_", " "), b.meta.num_problems,
            b.meta.num_samples, b.meta.temperature, b.meta.top_p, b.meta.max_new_tokens,
        )
        for b in analysis.benchmarks
    ]  # fmt: skip
    header = (
        "benchmark", "task", "role", "problems", "samples", "temperature", "top_p", "max tokens",
    )  # fmt: skip
    return (
        "<p>pass@k is the unbiased estimate 1 − C(n−c, k) / C(n, k) of each problem (Chen et al. "
        f"2021), averaged over problems. A response counts as solved from a score of "
        f"{analysis.threshold!r} on. Intervals in the figures and tables are analytic: Wilson’s, "
        "with the effective number of problems; bootstrap (BCa) intervals of the same means are "
        "in analysis.json. The intervals speak about other problems of the same kind, not about "
        "other training runs: those need other seeds.</p>"
        "<p>A correlation of gains with the base is pulled below zero by the ceiling at 1, "
        "whatever training does; the noise of the base’s own samples, which would pull it "
        "further, is kept out by taking the base’s position and the gain from different halves "
        "of its samples.</p>" + scroll(table(header, settings))
    )


def reset_section(history: History) -> str:
    """The reference resets of the run and their reasons."""
    if not history.resets:
        return ""
    rows = [(mark.step, mark.reason) for mark in history.resets]
    return table(("step", "reason"), rows, caption="Reference resets")
