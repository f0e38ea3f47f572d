"""Stands in for `prorl` on a Ray cluster: ray_driver.py RUN_DIR train ...

Joins the cluster as NeMo-RL does, runs a task on every node, and notes what it found. The
first time it then waits for ever, as a driver may that has lost a part of its cluster.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path

import ray

root = Path(sys.argv[1])
ray.init(address="auto", include_dashboard=False)


@ray.remote(num_gpus=8, num_cpus=1)
def host_name() -> str:
    return socket.gethostname()


found = {
    "address": os.environ["RAY_ADDRESS"],
    "gpus": ray.cluster_resources()["GPU"],
    "hosts": sorted(ray.get([host_name.remote() for _ in range(4)])),
}
is_first = not (root / "ray.json").exists()
(root / ".ray.json").write_text(json.dumps(found))
(root / ".ray.json").rename(root / "ray.json")
while is_first:
    time.sleep(1)
(root / "DONE").touch()
