"""pass@k of a campaign's models, then the analysis.

    python examples/run_eval.py runs/local --num-samples 256

The same as `prorl evaluate --run RUN prorl.evaluation.num_samples=256; prorl analyze RUN`.
Samples that are there already are kept.
"""

import argparse
import sys

from prorl_nemo.cli import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run_dir")
    parser.add_argument("--num-samples", type=int, default=256)
    arguments = parser.parse_args()
    overrides = [f"prorl.evaluation.num_samples={arguments.num_samples}"]
    code = main(["evaluate", "--run", arguments.run_dir, *overrides])
    sys.exit(code or main(["analyze", arguments.run_dir]))
