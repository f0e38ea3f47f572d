"""The `prorl` command. Errors of the user end in one line and exit code 2."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

VERBS = {
    "train": "run a campaign, or go on with one",
    "plan": "check a configuration and show what it would do",
    "status": "show where a campaign is",
    "submit": "submit a campaign to Slurm as a chain of jobs",
    "reset": "ask a running campaign to reset its reference",
    "evaluate": "sample models on benchmarks, resumable",
    "convert": "a checkpoint to a Hugging Face directory, on a CPU",
    "data": "prepare or preview the training mixture",
    "analyze": "pass@k, regimes and the report of sampled models",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="prorl",
        description="ProRL: prolonged reinforcement learning on NVIDIA NeMo-RL, or on a laptop.",
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    given = list(sys.argv[1:] if argv is None else argv)
    for name, summary in VERBS.items():
        verb = verbs.add_parser(name, help=summary, description=summary)
        if given[:1] == [name]:
            _module(name).add_arguments(verb)
    arguments = parser.parse_args(given)
    try:
        return int(_module(arguments.verb).run(arguments))
    except KeyboardInterrupt:
        print(f"prorl {arguments.verb}: interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError, FloatingPointError, RuntimeError) as error:
        if os.environ.get("PRORL_TRACEBACK"):
            raise
        print(f"prorl {arguments.verb}: {_one_line(error)}", file=sys.stderr)
        return 2


def _module(verb: str):  # type: ignore[no-untyped-def]  # a module with add_arguments and run
    return importlib.import_module(f"prorl_nemo.commands.{verb}")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
