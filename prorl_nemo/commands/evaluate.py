"""`prorl evaluate`: sample models on the configured benchmarks; again: go on where it stopped."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from prorl_nemo.commands.config_arguments import add_config_arguments, find_config
from prorl_nemo.commands.hash_seed import fix_hash_seed

POLL_SECONDS = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument(
        "--run", type=Path, default=None, help="evaluate the models of this run directory"
    )
    parser.add_argument(
        "--step",
        type=int,
        action="append",
        default=[],
        metavar="N",
        help="with --run, also the checkpoint of this step; may be given more than once",
    )
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="a Hugging Face directory (or hub name) under a name, base first; may be given again",
    )
    parser.add_argument(
        "--out", type=Path, default=None, help="where samples go (default: the run directory)"
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="share models and benchmarks among N processes, each with a GPU where there are some",
    )
    parser.add_argument("--part", default="0/1", metavar="I/N", help="only part I of N, from 0")


def run(arguments: argparse.Namespace) -> int:
    index, count = _part(arguments.part)
    fix_hash_seed()
    # Deferred: these import torch.
    from prorl_nemo.config_loading import load_config, override_config
    from prorl_nemo.finish import EvaluatedModel, Part, evaluate_model, find_models
    from prorl_nemo.run_directory import load_frozen_config

    if (arguments.run is None) == (not arguments.model):
        raise ValueError("give either --run RUN_DIR or --model NAME=DIR")
    if arguments.run is not None:
        config = override_config(load_frozen_config(arguments.run), arguments.overrides)
        models = find_models(config, arguments.run, more_steps=arguments.step)
        out = arguments.out or arguments.run
    else:
        config = load_config(find_config(arguments.config), arguments.overrides)
        models = [
            EvaluatedModel(*_name_and_directory(text), order=order, step=None)
            for order, text in enumerate(arguments.model)
        ]
        out = arguments.out or Path(config.checkpointing.checkpoint_dir)
    if arguments.processes > 1:
        return _run_processes(arguments.processes)
    for model in models:
        evaluate_model(config, out, model, say=print, part=Part(index, count))
    return 0


def _run_processes(count: int) -> int:
    """This very command ``count`` times, each with a part of the work; ends when one fails."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = visible.split(",") if visible else [str(i) for i in range(count)]
    if visible and len(devices) < count:
        raise ValueError(f"--processes {count}: CUDA_VISIBLE_DEVICES has {len(devices)} devices")
    command = [sys.executable, "-m", "prorl_nemo.cli", *sys.argv[1:], "--processes", "1"]
    processes = [
        subprocess.Popen(
            [*command, "--part", f"{i}/{count}"],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": devices[i]},
        )
        for i in range(count)
    ]
    try:
        while any(process.poll() is None for process in processes):
            if failed := [process for process in processes if process.poll()]:
                return failed[0].returncode
            time.sleep(POLL_SECONDS)
        return max(process.returncode for process in processes)
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def _name_and_directory(text: str) -> tuple[str, str]:
    name, separator, directory = text.partition("=")
    if not separator or not name or not directory:
        raise ValueError(f"--model {text}: expected NAME=DIR")
    return name, directory


def _part(text: str) -> tuple[int, int]:
    index, separator, count = text.partition("/")
    if separator and index.isdecimal() and count.isdecimal() and int(index) < int(count):
        return int(index), int(count)
    raise ValueError(f"--part {text}: expected I/N, such as 0/8 to 7/8")
