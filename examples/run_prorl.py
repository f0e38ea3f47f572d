"""Run a ProRL campaign on NeMo-RL, in the style of NeMo-RL's own examples.

    export NEMO_RL_ROOT=/opt/nemo-rl PRORL_DATA=/shared/prorl-data
    python examples/run_prorl.py --config conf/prorl_1.5b.yaml cluster.num_nodes=4

The same as `prorl train`; here to be read, and to be changed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from prorl_nemo.campaign import run_campaign
from prorl_nemo.config_loading import load_config
from prorl_nemo.engines.nemo.build import NemoEngineBuilder
from prorl_nemo.engines.nemo.config import NemoCampaignConfig
from prorl_nemo.run_directory import owned_run_directory
from prorl_nemo.run_requests import RunRequests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=Path("conf/prorl_1.5b.yaml"))
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()

    config = load_config(arguments.config, arguments.overrides)
    if not isinstance(config, NemoCampaignConfig):
        raise SystemExit("prorl.engine: this example runs on nemo")
    root = Path(config.checkpointing.checkpoint_dir)
    with owned_run_directory(root, config):
        requests = RunRequests(root)
        requests.install_signal_handlers()
        outcome = run_campaign(
            config, root, build_engine=NemoEngineBuilder(root), requests=requests
        )
        print(f"{root}: {outcome}")


if __name__ == "__main__":
    main()
