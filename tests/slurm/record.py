"""Stands in for `prorl` where a test asks what reaches it: record.py RUN_DIR YIELDS ARGUMENTS...

Appends its arguments and its environment to RUN_DIR/calls.jsonl; `train` leaves YIELDS times as
if asked to, and then finishes.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

root, num_yields, arguments = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
with (root / "calls.jsonl").open("a+") as file:
    call = {"arguments": arguments, "cwd": os.getcwd(), "environment": dict(os.environ)}
    file.write(json.dumps(call) + "\n")
    file.seek(0)
    num_calls = len(file.readlines())
if arguments[0] == "train" and num_calls > num_yields:
    (root / "DONE").touch()
