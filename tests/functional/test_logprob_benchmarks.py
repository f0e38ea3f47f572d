"""The scripts that compare log-probs with and without logits, at toy size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / script), *options]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_gpu_script_runs_its_logic_on_a_cpu_and_checks_both_ways_against_float64() -> None:
    result = run("gpu_logprobs.py", "--toy", "--repeats", "1")
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout)["128"]
    for way in ("fused", "full"):
        assert figures[way]["tokens_per_second"] > 0
        assert 0 < figures[way]["logprob_error"] < 0.02  # logits of about 4 in bf16
        assert 0 < figures[way]["gradient_error"] < 0.02
        assert figures[way]["mfu"] is None


def test_a_missed_goal_is_a_non_zero_exit() -> None:
    """At this size the libraries that a first product loads outweigh an eighth of the logits."""
    options = ("--tokens", "64", "--vocabulary", "500", "--hidden", "8", "--repeats", "1")
    result = run("logprobs.py", *options)
    assert result.returncode == 1
    assert "goal: at most 0.125" in result.stdout
    assert result.stderr.startswith("full ")
