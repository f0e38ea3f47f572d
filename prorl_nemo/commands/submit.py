"""`prorl submit`: hand a campaign to Slurm. A thin front of slurm/submit.sh."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="YAML file of the campaign")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as in prorl train")
    parser.add_argument("--cluster", metavar="FILE", help="settings of the cluster")
    parser.add_argument("--chain", metavar="N", help="segments to keep in the queue")
    parser.add_argument(
        "--then",
        action="append",
        default=[],
        choices=("evaluate", "convert"),
        help="a job behind the finished campaign; may be repeated",
    )
    for flag in ("--no-evaluation", "--allow-config-change"):
        parser.add_argument(flag, action="store_true", help="as in prorl train")
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything and leave nothing behind"
    )


def run(arguments: argparse.Namespace) -> int:
    script = Path(__file__).resolve().parents[2] / "slurm" / "submit.sh"
    if not script.is_file():
        raise ValueError("prorl submit needs a checkout of the repository: slurm/ is not installed")
    os.execv(script, [str(script), *make_words(arguments)])


def make_words(arguments: argparse.Namespace) -> list[str]:
    """The arguments of submit.sh: its options, CONFIG, then those of `prorl train`."""
    words = ["--dry-run"] if arguments.dry_run else []
    for name in ("cluster", "chain"):
        value = getattr(arguments, name)
        words += [f"--{name}", value] if value is not None else []
    for name in arguments.then:
        words += ["--then", name]
    words += [arguments.config, *arguments.overrides]
    for name in ("no_evaluation", "allow_config_change"):
        words += [f"--{name.replace('_', '-')}"] if getattr(arguments, name) else []
    return words
