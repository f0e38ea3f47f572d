"""`prorl convert`: a checkpoint to a Hugging Face directory, on a CPU."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="a step, an iteration or a run directory")
    parser.add_argument("output", type=Path, help="the new Hugging Face directory")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--step", type=int, help="this step of a run directory")
    which.add_argument("--best", action="store_true", help="the best step of a run directory")
    which.add_argument("--latest", action="store_true", help="the newest step (the default)")
    parser.add_argument("--verify", action="store_true", help="compare logits with the source")
    parser.add_argument("--model-config", type=Path, help="directory with config.json to use")
    parser.add_argument("--tokenizer", type=Path, help="directory with the tokenizer to use")
    parser.add_argument("--license", help="licence identifier for the model card")


def run(arguments: argparse.Namespace) -> int:
    # Deferred: importing torch takes seconds.
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

    from prorl_nemo.conversion.convert import ConversionOptions, convert_checkpoint

    options = ConversionOptions(
        model_config=arguments.model_config,
        tokenizer=arguments.tokenizer,
        license_name=arguments.license,
        should_verify=arguments.verify,
    )
    with Progress(
        *Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn()
    ) as progress:
        bar = progress.add_task("converting", total=None)
        result = convert_checkpoint(
            arguments.checkpoint,
            arguments.output,
            step=arguments.step,
            choice="best" if arguments.best else "latest",
            options=options,
            on_progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    print(f"{result.output}: {result.num_tensors} tensors, {result.num_bytes / 1e9:.2f} GB")
    print(f"from {result.weights} ({result.layout}, step {result.step})")
    print(f"tokenizer: {result.tokenizer or 'none found; pass --tokenizer DIRECTORY'}")
    if result.comparison is not None:
        print(f"logits differ by at most {result.comparison.max_difference:.2e}")
    return 0
