"""The long form of the resume tests: kill -9 at many random moments, then compare every bit.

    python -m tests.resume_torture --kills 20 --seed 1

The tiny campaign has resets of every scheduled kind, two runs and a carry-over buffer. Exits
non-zero when the killed campaign does not end as the uninterrupted one did.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

from tests.functional.test_resume import assert_same_campaign
from tests.support.campaigns import CampaignServer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as scratch:
        server = CampaignServer(Path(scratch))
        whole, killed = Path(scratch) / "whole", Path(scratch) / "killed"
        start = time.monotonic()
        assert server.train(whole).wait().code == 0
        seconds = time.monotonic() - start
        for kill in range(1, arguments.kills + 1):
            process = server.train(killed)
            wait = moments.uniform(0.0, 0.5 * seconds)
            time.sleep(wait)
            process.kill()
            print(f"kill {kill}/{arguments.kills} after {wait:.2f} s", flush=True)
        assert server.train(killed).wait().code == 0
        assert_same_campaign(killed, whole)
        server.close()
    print("every bit is the same")


if __name__ == "__main__":
    main()
