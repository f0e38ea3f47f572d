"""Seconds until `prorl --help` and `prorl plan` have answered, and that neither loads torch.

    python -m benchmarks.startup

Whole processes, 7 runs each behind one that isn't counted and that compiles the sources: all use
a bytecode cache of their own, whatever PYTHONDONTWRITEBYTECODE says, as an installation has
it. Exits non-zero when a median misses its goal or torch was loaded.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
RUNS = 7
GOALS = {("--help",): 0.3, ("plan", "--config", "conf/local.yaml"): 2.0}


def main() -> int:
    missed = False
    print("| command | seconds, median [least, most] | goal | loads torch |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
        for arguments, goal in GOALS.items():
            command = [sys.executable, "-m", "prorl_nemo.cli", *arguments]
            seconds = [measure(command, environment) for _ in range(RUNS + 1)][1:]
            loads_torch = is_torch_loaded(command, environment)
            median = statistics.median(seconds)
            missed |= median > goal or loads_torch
            print(
                f"| prorl {' '.join(arguments)} "
                f"| {median:.2f} [{min(seconds):.2f}, {max(seconds):.2f}] "
                f"| {goal} | {'yes' if loads_torch else 'no'} |"
            )
    return int(missed)


def measure(command: list[str], environment: Mapping[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, capture_output=True)
    return time.perf_counter() - start


def is_torch_loaded(command: list[str], environment: Mapping[str, str]) -> bool:
    timed = [command[0], "-X", "importtime", *command[1:]]
    done = subprocess.run(
        timed, cwd=REPOSITORY, env=environment, check=True, capture_output=True, text=True
    )
    return any(line.split("|")[-1].strip() == "torch" for line in done.stderr.splitlines())


if __name__ == "__main__":
    sys.exit(main())
