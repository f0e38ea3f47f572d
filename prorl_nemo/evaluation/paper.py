"""Figures that the ProRL paper publishes (arXiv 2505.24864), in percent, for comparison.

Other models, data and scale than the user's: the report shows them apart, marked as the
paper's, and computes nothing with them. Nothing here was measured by this project.
"""

from __future__ import annotations

from dataclasses import dataclass

BASE_MODEL = "DeepSeek-R1-Distill-Qwen-1.5B"
FINAL_MODEL = "ProRL (Nemotron-Research-Reasoning-Qwen-1.5B)"
PROTOCOL = (
    "vLLM, temperature 0.6, top_p 0.95, 32k tokens; mathematics, code and STEM: pass@1 as the "
    "mean of 16 samples; logic and instruction following: mean continuous score"
)


@dataclass(frozen=True)
class PublishedResult:
    """One column of the paper's result tables."""

    domain: str
    benchmark: str
    base: float  # percent
    final: float  # percent


PUBLISHED_RESULTS = (
    PublishedResult("mathematics", "AIME24", 28.54, 48.13),
    PublishedResult("mathematics", "AIME25", 22.71, 33.33),
    PublishedResult("mathematics", "AMC", 62.58, 79.29),
    PublishedResult("mathematics", "MATH", 82.90, 91.89),
    PublishedResult("mathematics", "Minerva", 26.38, 47.98),
    PublishedResult("mathematics", "Olympiad", 43.58, 60.22),
    PublishedResult("code", "APPS", 20.95, 41.99),
    PublishedResult("code", "CodeContests", 16.79, 31.80),
    PublishedResult("code", "Codeforces", 14.13, 34.50),
    PublishedResult("code", "TACO", 8.03, 20.81),
    PublishedResult("code", "HumanEval+", 61.77, 72.05),
    PublishedResult("code", "LiveCodeBench", 16.80, 23.81),
    PublishedResult("STEM", "GPQA", 15.86, 41.78),
    PublishedResult("instruction following", "IFEval", 44.05, 66.02),
    PublishedResult("logic", "Reasoning Gym", 4.24, 59.06),
    PublishedResult("out of distribution", "acre", 5.99, 58.57),
    PublishedResult("out of distribution", "boxnet", 0.00, 7.91),
    PublishedResult("out of distribution", "game_of_life_halting", 3.49, 52.29),
)

# Against DOLMA; base, intermediate, final.
CREATIVITY_INDEX = (3.84, 4.42, 4.70)

REGIMES = "diminish: many of the mathematics sets; plateau: GPQA; sustained: code"
GAIN_CORRELATION = "negative between gain and the base model's pass@128 (coefficient not printed)"


def published(benchmark: str) -> PublishedResult | None:
    """The paper's result on a benchmark of this name, if it has one."""
    return next((r for r in PUBLISHED_RESULTS if r.benchmark.lower() == benchmark.lower()), None)
