"""Converts a training checkpoint to a Hugging Face directory, on a CPU.

    python examples/convert_to_hf.py results/step_1200 my-model --verify

``prorl convert`` is the same thing with a progress bar.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from prorl_nemo.conversion.convert import ConversionOptions, convert_checkpoint


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Convert a checkpoint to a Hugging Face directory")
    parser.add_argument("checkpoint", type=Path, help="a step, an iteration or a run directory")
    parser.add_argument("output", type=Path, help="the new Hugging Face directory")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--step", type=int, help="this step of a run directory")
    which.add_argument("--best", action="store_true", help="the best step of a run directory")
    parser.add_argument("--verify", action="store_true", help="compare logits with the source")
    parser.add_argument("--model-config", type=Path, help="directory with config.json to use")
    parser.add_argument("--tokenizer", type=Path, help="directory with the tokenizer to use")
    parser.add_argument("--license", help="licence identifier for the model card")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    options = ConversionOptions(
        model_config=args.model_config,
        tokenizer=args.tokenizer,
        license_name=args.license,
        should_verify=args.verify,
    )
    try:
        result = convert_checkpoint(
            args.checkpoint,
            args.output,
            step=args.step,
            choice="best" if args.best else "latest",
            options=options,
        )
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None
    print(f"{result.output}: {result.num_tensors} tensors, {result.num_bytes / 1e9:.2f} GB")
    print(f"from {result.weights} ({result.layout}, step {result.step})")
    print(f"tokenizer: {result.tokenizer or 'none found; pass --tokenizer DIRECTORY'}")
    if result.comparison is not None:
        print(f"logits differ by at most {result.comparison.max_difference:.2e}")


if __name__ == "__main__":
    main()
