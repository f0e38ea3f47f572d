"""Makes run directories with invented samples and metrics, for tests of the report.

The problems have solve probabilities drawn from a Beta distribution; nothing here was
sampled from a model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from prorl_nemo.evaluation.sample_files import (
    Role,
    SampleChunk,
    SampleMeta,
    chunk_line,
    write_meta,
)

MODELS = (("base", 0, None), ("step_000120", 1, 120), ("final", 2, 240))
WORDS = (
    "we",
    "first",
    "add",
    "the",
    "two",
    "numbers",
    "then",
    "check",
    "that",
    "sum",
    "is",
    "prime",
)


@dataclass(frozen=True)
class Benchmark:
    """(a, b) of the Beta distribution of solve probabilities, for each model in MODELS."""

    name: str
    task: str
    betas: tuple[tuple[float, float], ...]
    role: Role = "trained"
    sweep_value: float | None = None
    sweep_group: str | None = None
    is_continuous: bool = False


DIMINISH = ((0.5, 0.8), (0.9, 0.3), (1.1, 0.3))
BENCHMARKS = (
    Benchmark("gcd", "gcd", ((3.0, 2.0), (0.5, 0.12), (0.4, 0.09))),
    Benchmark("chain_sum", "chain_sum", ((0.15, 1.5), (0.3, 0.9), (0.33, 0.9))),
    Benchmark("spell_backward", "spell_backward", ((0.05, 0.9), (0.3, 0.7), (0.9, 0.4))),
    Benchmark("letter_counting", "letter_counting", ((0.8, 0.9), (0.85, 0.9), (0.8, 0.85))),
    Benchmark(
        "word_sorting", "word_sorting", ((0.1, 2.0), (0.3, 1.0), (0.8, 0.9)),
        role="held_out_task", is_continuous=True,
    ),
    *(
        Benchmark(
            f"spell_backward_{size}", "spell_backward",
            ((2.0 / size, 2.0), (8.0 / size, 1.5), (14.0 / size, 1.0)),
            role="sweep", sweep_value=float(size), sweep_group="spell_backward by word length",
        )
        for size in (3, 6, 9, 12)
    ),
)  # fmt: skip


def write_synthetic_run(
    run_dir: Path,
    *,
    num_problems: int = 100,
    num_samples: int = 256,
    benchmarks: tuple[Benchmark, ...] = BENCHMARKS,
    with_metrics: bool = True,
    seed: int = 0,
) -> Path:
    """Write samples of three models, and metrics.jsonl; returns run_dir."""
    rng = np.random.default_rng(seed)
    for benchmark in benchmarks:
        ranks = rng.random(num_problems)  # a problem hard for one model is hard for all
        for (model, order, step), (a, b) in zip(MODELS, benchmark.betas, strict=True):
            path = run_dir / "evaluation" / model / f"{benchmark.name}.jsonl"
            write_meta(
                path,
                SampleMeta(
                    model=model, model_order=order, step=step, benchmark=benchmark.name,
                    task=benchmark.task, role=benchmark.role, sweep_value=benchmark.sweep_value,
                    sweep_group=benchmark.sweep_group, num_problems=num_problems,
                    num_samples=num_samples, temperature=0.6, top_p=0.95, max_new_tokens=16,
                    seed=seed,
                ),
            )  # fmt: skip
            rates = stats.beta.ppf(ranks, a, b)
            write_samples(
                path, rates, num_samples=num_samples, rng=rng,
                is_continuous=benchmark.is_continuous,
            )  # fmt: skip
    if with_metrics:
        write_synthetic_metrics(run_dir, rng=rng)
    return run_dir


def write_samples(
    path: Path,
    rates: np.ndarray,  # [P] solve probability of each problem
    *,
    num_samples: int,
    rng: np.random.Generator,
    is_continuous: bool = False,
) -> None:
    """Write one chunk per problem."""
    lines = []
    for index, rate in enumerate(rates):
        rewards = (rng.random(num_samples) < rate).astype(float)
        if is_continuous:
            rewards = np.maximum(rewards, np.round(rng.random(num_samples) * 0.8, 2))
        words = rng.integers(0, len(WORDS), size=(num_samples, 12))
        chunk = SampleChunk(
            problem_id=f"p{index:04d}",
            first_sample=0,
            rewards=tuple(rewards.tolist()),
            responses=tuple(" ".join(WORDS[w] for w in row) for row in words),
            num_tokens=tuple(rng.integers(4, 17, num_samples).tolist()),
            truncated=tuple((rng.random(num_samples) < 0.03).tolist()),
        )
        lines.append(chunk_line(chunk))
    path.write_bytes(b"".join(lines))


def write_synthetic_metrics(
    run_dir: Path, *, rng: np.random.Generator, num_steps: int = 240
) -> None:
    """Write metrics.jsonl with two resets."""
    rows = []
    since_reset = 0
    for step in range(1, num_steps + 1):
        reset = {100: "validation stagnated for 3 evaluations", 180: "kl ceiling"}.get(step)
        since_reset = 0 if reset else since_reset + 1
        share = step / num_steps
        generated = int(48 + 40 * share + rng.integers(0, 6))
        rows.append(
            {
                "step": step, "run": "run1" if step <= 100 else "run2",
                "reward_mean": 0.15 + 0.5 * share + 0.03 * rng.normal(),
                "entropy": 0.6 * np.exp(-2 * share) + 0.08 + 0.01 * rng.normal(),
                "kl": 4e-4 * since_reset * (1 + 0.1 * rng.normal()),
                "clip_fraction_low": 0.004, "clip_fraction_high": 0.01 + 0.01 * share,
                "pass_rate": 32 / generated, "num_groups_generated": generated,
                "num_groups_used": 32, "response_length_mean": 6 + 3 * share + 0.2 * rng.normal(),
                "truncated_rate": max(0.0, 0.05 - 0.05 * share), "grad_norm": 0.4,
                "seconds": 1.1, "reset": reset,
                "validation_score": 0.15 + 0.5 * share if step % 20 == 0 else None,
            }
        )  # fmt: skip
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (run_dir / "metrics.jsonl").write_text(text, encoding="utf-8")
