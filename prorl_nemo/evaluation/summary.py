"""The analysis in a few numbers, and as JSON for other programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats

from prorl_nemo.evaluation.boundary import BenchmarkAnalysis, BoundaryAnalysis, ModelCurve
from prorl_nemo.evaluation.regimes import Regime, boundary_k
from prorl_nemo.evaluation.transitions import Crossing

# Cut-off responses from here on make pass@k a lower bound worth a warning.
TRUNCATION_WARNING = 0.2


_REGIME_WORDS: dict[Regime, str] = {
    "sustained": "the boundary widened and kept widening to the end",
    "plateau": "the boundary widened, with no later gain shown",
    "widened": "the boundary widened",
    "diminish": "the boundary shrank",
    "sharpened": "pass@1 rose, the boundary was not shown to move",
    "none": "no change was shown",
}


@dataclass(frozen=True)
class Headline:
    """pass@k averaged over benchmarks, each with the same weight."""

    k: int
    base: float
    final: float
    gain: float
    low: float  # 95% interval of the gain, over the problems of these very benchmarks
    high: float
    num_benchmarks: int
    num_problems: int


def make_headline(benchmarks: Sequence[BenchmarkAnalysis], *, k: int) -> Headline | None:
    """Mean over the benchmarks that have two models and k samples; None without any."""
    chosen = [b for b in benchmarks if len(b.curves) > 1 and b.meta.num_samples >= k]
    if not chosen:
        return None
    base = [b.curves[0].per_problem[:, k - 1] for b in chosen]
    final = [b.curves[-1].per_problem[:, k - 1] for b in chosen]
    gains = [f - b for b, f in zip(base, final, strict=True)]
    variances = [g.var(ddof=1) / len(g) if len(g) > 1 else 1.0 for g in gains]
    gain = float(np.mean([g.mean() for g in gains]))
    half = float(stats.norm.ppf(0.975)) * float(np.sqrt(np.sum(variances))) / len(chosen)
    return Headline(
        k=k,
        base=float(np.mean([b.mean() for b in base])),
        final=float(np.mean([f.mean() for f in final])),
        gain=gain,
        low=max(-1.0, gain - half),
        high=min(1.0, gain + half),
        num_benchmarks=len(chosen),
        num_problems=sum(len(g) for g in gains),
    )


def count_regimes(benchmarks: Sequence[BenchmarkAnalysis]) -> dict[Regime, int]:
    """How many benchmarks are in each regime."""
    return dict(Counter(b.verdict.regime for b in benchmarks if b.verdict is not None))


def judged_benchmarks(analysis: BoundaryAnalysis) -> list[BenchmarkAnalysis]:
    """Benchmarks with two models or more, sweeps left out: they repeat one task."""
    return [b for b in analysis.benchmarks if b.verdict is not None and b.meta.role != "sweep"]


def answer_in_words(analysis: BoundaryAnalysis) -> str:
    """Did the boundary move? One or two sentences; empty with nothing to compare."""
    judged = judged_benchmarks(analysis)
    if not judged:
        return ""
    counts = count_regimes(judged)
    parts = [
        f"{words} on {counts[name]}" for name, words in _REGIME_WORDS.items() if name in counts
    ]
    k = boundary_k(min(b.meta.num_samples for b in judged))
    return (
        f"Of {len(judged)} benchmark{'s' * (len(judged) != 1)}, {'; '.join(parts)}. "
        f"The boundary is pass@{k}: the share of problems solved at least once in {k} samples."
    )


def find_warnings(analysis: BoundaryAnalysis) -> list[str]:
    """What a reader must know before trusting the curves."""
    warnings = [
        f"{i.meta.model} on {i.meta.benchmark} is left out: {i.reason}. Run the same "
        "prorl evaluate command again to finish it."
        for i in analysis.incomplete
    ]
    for benchmark in analysis.benchmarks:
        for curve in benchmark.curves:
            if curve.truncated_rate >= TRUNCATION_WARNING:
                warnings.append(
                    f"{curve.truncated_rate:.0%} of the responses of {curve.meta.model} on "
                    f"{benchmark.meta.benchmark} were cut off at "
                    f"{curve.meta.max_new_tokens} tokens: its pass@k is a lower bound."
                )
    return warnings


def analysis_to_json(analysis: BoundaryAnalysis) -> dict[str, object]:
    """Everything but the per-problem arrays, in plain JSON values."""
    return {
        "models": list(analysis.models),
        "threshold": analysis.threshold,
        "benchmarks": [_benchmark_to_json(b) for b in analysis.benchmarks],
        "gains": [asdict(g) for g in analysis.gains],
        "incomplete": [
            {"path": str(i.path), "num_done": i.num_done, "reason": i.reason}
            for i in analysis.incomplete
        ],
    }


def _benchmark_to_json(benchmark: BenchmarkAnalysis) -> dict[str, object]:
    transitions = benchmark.transitions
    return {
        "meta": {k: v for k, v in asdict(benchmark.meta).items() if k not in ("model", "step")},
        "boundary_k": benchmark.boundary_k,
        "curves": [_curve_to_json(c) for c in benchmark.curves],
        "verdict": None if benchmark.verdict is None else asdict(benchmark.verdict),
        "newly_solved": None if transitions is None else _crossing(transitions.newly_solved),
        "newly_lost": None if transitions is None else _crossing(transitions.newly_lost),
        "net_p_value": None if transitions is None else transitions.net_p_value,
    }


def _curve_to_json(curve: ModelCurve) -> dict[str, object]:
    mean, low, high = curve.mean_score.at(0)
    return {
        "model": curve.meta.model,
        "step": curve.meta.step,
        "pass_at_k": curve.pass_at_k.mean.tolist(),
        "analytic_low": curve.pass_at_k.low.tolist(),
        "analytic_high": curve.pass_at_k.high.tolist(),
        "bootstrap_low": curve.bootstrap.low.tolist(),
        "bootstrap_high": curve.bootstrap.high.tolist(),
        "best_of_k": None if curve.best_of_k is None else curve.best_of_k.mean.tolist(),
        "mean_score": mean,
        "mean_score_low": low,
        "mean_score_high": high,
        "truncated_rate": curve.truncated_rate,
        "mean_tokens": curve.mean_tokens,
    }


def _crossing(crossing: Crossing) -> dict[str, object]:
    return {
        "problem_ids": list(crossing.problem_ids),
        "certain_ids": list(crossing.certain_ids),
        "num_by_chance": crossing.num_by_chance,
        "p_value": crossing.p_value,
    }
