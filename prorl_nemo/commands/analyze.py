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
    parser.add_argument(
        "--corpus",
        type=Path,
        default=None,
        help="folder of text files: adds the creativity index of the responses against it",
    )


def run(arguments: argparse.Namespace) -> int:
    # Deferred: matplotlib and scipy take a second to import.
    from prorl_nemo.evaluation.boundary import analyze
    from prorl_nemo.evaluation.corpus_index import SuffixArrayIndex
    from prorl_nemo.evaluation.creativity import analyze_creativity
    from prorl_nemo.evaluation.report import write_analysis_report, write_report
    from prorl_nemo.evaluation.summary import answer_in_words

    directories: list[Path] = arguments.directories
    out: Path = arguments.out or directories[0]
    corpus = SuffixArrayIndex.from_folder(arguments.corpus) if arguments.corpus else None
    analysis = analyze(directories)
    if directories == [out]:
        report = write_report(out, corpus=corpus)
    else:
        creativity = analyze_creativity(directories, corpus) if corpus is not None else None
        report = write_analysis_report(out, analysis=analysis, creativity=creativity)
    print(answer_in_words(analysis))
    print(report)
    return 0
