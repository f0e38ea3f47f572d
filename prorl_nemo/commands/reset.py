"""`prorl reset RUN_DIR`: ask a running campaign to reset its reference."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, help="run directory of the campaign")


def run(arguments: argparse.Namespace) -> int:
    from prorl_nemo.run_directory import load_frozen_config
    from prorl_nemo.run_requests import request_reset

    load_frozen_config(arguments.run_dir)
    identifier = request_reset(arguments.run_dir)
    print(f"reset {identifier[:8]} will take place after the step that is running now")
    return 0
