"""Some of Reasoning Gym's data sets iterate over sets of strings: their items need a hash seed."""

from __future__ import annotations

import os
import sys


def fix_hash_seed() -> None:
    """Start this process again with PYTHONHASHSEED=0, unless the user chose a value."""
    if sys.flags.hash_randomization and "PYTHONHASHSEED" not in os.environ:
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
