"""The README's table: held-out pass@1 before and after, for several seeds of the miniature.

    for seed in 1 2 3; do
        prorl train grpo.seed=$seed checkpointing.checkpoint_dir=runs/seed$seed
    done
    python benchmarks/miniature.py runs/seed1 runs/seed2 runs/seed3

Intervals are 95%: of a seed, over its held-out problems (paired, before and after); of the
mean over tasks, from the tasks' standard errors.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np

from prorl_nemo.evaluation.pass_at_k import count_solved, pass_at_k
from prorl_nemo.evaluation.samples import SampleSet, read_evaluation
from prorl_nemo.run_directory import DONE_FILE

Z95 = 1.959964


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    runs: list[Path] = parser.parse_args().runs
    for run in runs:
        # Before the end, the last model sampled is not the final one.
        if not (run / DONE_FILE).exists():
            parser.error(f"{run}: the campaign is not finished")
        print_run(run)


def print_run(run: Path) -> None:
    """One table per run: pass@1 and pass@n of base and final, and the gain in pass@1."""
    gains: list[float] = []
    variances: list[float] = []
    print(f"\n{run.name}\n")
    print("| task | problems x samples | base | final | gain |\n|---|---|---|---|---|")
    for name, sets in read_evaluation([run]).benchmarks().items():
        base, final = per_problem(sets[0]), per_problem(sets[-1])
        difference = final[:, 0] - base[:, 0]
        error = difference.std(ddof=1) / math.sqrt(len(difference))
        if sets[0].meta.role == "trained":
            gains.append(difference.mean())
            variances.append(error**2)
        count = sets[0].num_samples
        print(
            f"| {name} ({sets[0].meta.role}) | {len(difference)} x {count} "
            f"| {shown(base)} | {shown(final)} "
            f"| {difference.mean():+.3f} ± {Z95 * error:.3f} |"
        )
    mean, error = np.mean(gains), math.sqrt(sum(variances)) / len(gains)
    print(f"| **mean of the trained tasks** | | | | **{mean:+.3f} ± {Z95 * error:.3f}** |")


def per_problem(samples: SampleSet) -> np.ndarray:
    """pass@k of each problem, [problems, samples]."""
    counts = count_solved(samples.rewards, threshold=1 - 1e-9)
    return pass_at_k(counts, num_samples=samples.num_samples)


def shown(values: np.ndarray) -> str:
    """pass@1 and pass@n."""
    return f"{values[:, 0].mean():.3f} / {values[:, -1].mean():.3f}"


if __name__ == "__main__":
    main()
