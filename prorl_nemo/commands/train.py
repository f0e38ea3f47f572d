"""`prorl train`: run a campaign, evaluate it and write its report; again: go on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from prorl_nemo.commands.config_arguments import add_config_arguments, find_config
from prorl_nemo.commands.hash_seed import fix_hash_seed

if TYPE_CHECKING:
    from prorl_nemo.campaign import BuildEngine
    from prorl_nemo.config_campaign import Config
    from prorl_nemo.display import ProgressDisplay


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument(
        "--allow-config-change",
        action="store_true",
        help="go on in a run directory that was started with another configuration",
    )
    parser.add_argument(
        "--no-evaluation", action="store_true", help="stop behind training: no pass@k, no report"
    )


def run(arguments: argparse.Namespace) -> int:
    fix_hash_seed()
    # Deferred: importing torch takes seconds, and `prorl --help` must not.
    from prorl_nemo.atomic_directory import write_text
    from prorl_nemo.campaign import run_campaign
    from prorl_nemo.config_loading import load_config
    from prorl_nemo.display import ProgressDisplay
    from prorl_nemo.run_directory import DONE_FILE, owned_run_directory
    from prorl_nemo.run_requests import RunRequests
    from prorl_nemo.run_schedule import schedule_runs
    from prorl_nemo.slurm.heartbeat import Heartbeat

    config = load_config(find_config(arguments.config), arguments.overrides)
    root = Path(config.checkpointing.checkpoint_dir)
    with owned_run_directory(root, config, allow_config_change=arguments.allow_config_change):
        requests = RunRequests(root)
        requests.install_signal_handlers()
        run_ends = [run.end_step for run in schedule_runs(config.prorl.schedule)]
        display = ProgressDisplay(total_steps=run_ends[-1])
        try:
            outcome = run_campaign(
                config,
                root,
                build_engine=choose_engine(config, root, display),
                requests=requests,
                observers=[display, Heartbeat(root, run_ends=run_ends)],
            )
        finally:
            display.close()
        if outcome == "stopped":
            display.say(f"stopped ({requests.stop_reason()}); the same command goes on")
            return 0
        if arguments.no_evaluation or config.prorl.engine == "nemo":
            write_text(root / DONE_FILE, "")
            display.say(f"finished; `prorl convert {root} OUT` makes a Hugging Face directory")
            return 0
        from prorl_nemo.finish import finish_campaign  # matplotlib, which training does without

        requests.exit_on_signals()
        finish_campaign(config, root, say=display.say)
    return 0


def choose_engine(config: Config, root: Path, display: ProgressDisplay) -> BuildEngine:
    """The engine that prorl.engine names; only here is there a choice."""
    if config.prorl.engine == "nemo":
        # Deferred: NeMo-RL is an installation of its own, and takes seconds to import.
        from prorl_nemo.engines.nemo.build import NemoEngineBuilder

        return NemoEngineBuilder(root)
    from prorl_nemo.engines.local.build import LocalEngineBuilder

    warm_start = display.warm_start(config.prorl.tiny_model.warm_start.num_steps)
    return LocalEngineBuilder(root, warm_start)
