"""The GPU benchmark's logic at toy size: every part runs, in BF16 and in FP8."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.campaigns import REPOSITORY


def test_the_benchmark_runs_whole_on_a_cpu() -> None:
    script = REPOSITORY / "benchmarks" / "gpu_train_step.py"
    command = [sys.executable, str(script), "--toy", "--repeats", "1"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    report = json.loads(done.stdout)
    bf16, fp8 = report["bf16"], report["fp8"]
    for figures in (bf16, fp8):
        assert figures["logprob_tokens_per_second"] > figures["train_tokens_per_second"] > 0
        # On policy the ratio is 1 and the KL 0: minus the mean advantage.
        assert figures["loss"] == pytest.approx(-1.0, abs=1e-6)
    assert fp8["recipe"] == "emulated"
    assert 1e-4 < fp8["logprob_difference_to_bf16"] < 0.1
