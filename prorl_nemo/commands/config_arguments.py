"""The arguments that every verb with a configuration has."""

from __future__ import annotations

import argparse
from pathlib import Path

DEFAULT_CONFIG = Path("conf/local.yaml")


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """--config and overrides."""
    parser.add_argument(
        "--config",
        type=Path,
        default=None,
        help=f"YAML file of the campaign (default: {DEFAULT_CONFIG})",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="changes to the configuration: key=value, +key=value adds, ~key removes",
    )


def find_config(given: Path | None) -> Path:
    """The file asked for, or the default below here or below the checkout of this package."""
    if given is not None:
        return given
    checkout = Path(__file__).resolve().parents[2]
    here = Path.cwd() / DEFAULT_CONFIG
    return here if here.is_file() else checkout / DEFAULT_CONFIG
