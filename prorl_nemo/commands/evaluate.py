"""`prorl evaluate`: sample models on the configured benchmarks; again: go on where it stopped."""

from __future__ import annotations

import argparse
from pathlib import Path

from prorl_nemo.commands.config_arguments import add_config_arguments, find_config
from prorl_nemo.commands.hash_seed import fix_hash_seed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument(
        "--run", type=Path, default=None, help="evaluate the models of this run directory"
    )
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="a Hugging Face directory under a name, base first; may be given more than once",
    )
    parser.add_argument(
        "--out", type=Path, default=None, help="where samples go (default: the run directory)"
    )


def run(arguments: argparse.Namespace) -> int:
    fix_hash_seed()
    # Deferred: these import torch.
    from prorl_nemo.config_loading import load_config, override_config
    from prorl_nemo.finish import EvaluatedModel, evaluate_model, find_models
    from prorl_nemo.run_directory import load_frozen_config

    if (arguments.run is None) == (not arguments.model):
        raise ValueError("give either --run RUN_DIR or --model NAME=DIR")
    if arguments.run is not None:
        config = override_config(load_frozen_config(arguments.run), arguments.overrides)
        models = find_models(config, arguments.run)
        out = arguments.out or arguments.run
    else:
        config = load_config(find_config(arguments.config), arguments.overrides)
        models = [
            EvaluatedModel(*_name_and_directory(text), order=order, step=None)
            for order, text in enumerate(arguments.model)
        ]
        out = arguments.out or Path(config.checkpointing.checkpoint_dir)
    for model in models:
        evaluate_model(config, out, model, say=print)
    return 0


def _name_and_directory(text: str) -> tuple[str, str]:
    name, separator, directory = text.partition("=")
    if not separator or not name or not directory:
        raise ValueError(f"--model {text}: expected NAME=DIR")
    return name, directory
