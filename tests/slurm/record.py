"""Stands in for `prorl` where a test asks what reaches it: record.py RUN_DIR ARGUMENTS...

Appends its arguments and its environment to RUN_DIR/calls.jsonl; `train` finishes at once.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

root, arguments = Path(sys.argv[1]), sys.argv[2:]
with (root / "calls.jsonl").open("a") as file:
    call = {"arguments": arguments, "cwd": os.getcwd(), "environment": dict(os.environ)}
    file.write(json.dumps(call) + "\n")
if arguments[0] == "train":
    (root / "DONE").touch()
