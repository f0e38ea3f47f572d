"""`prorl analyze`: pass@k, regimes and the report of sampled models."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directories", nargs="+", type=Path, metavar="DIR", help="run directories or sample folders"
    )
    parser.add_argument(
        "--out", type=Path, default=None, help="where report.html goes (default: the first DIR)"
    )


def run(arguments: argparse.Namespace) -> int:
    # Deferred: matplotlib and scipy take a second to import.
    from prorl_nemo.evaluation.boundary import analyze
    from prorl_nemo.evaluation.report import write_analysis_report, write_report

    first: Path = arguments.directories[0]
    if len(arguments.directories) == 1 and arguments.out in (None, first):
        print(write_report(first))
        return 0
    analysis = analyze(arguments.directories)
    print(write_analysis_report(arguments.out or first, analysis=analysis))
    return 0
