"""Convert a training checkpoint to a Hugging Face directory, on a CPU, and load the result.

    python examples/convert_to_hf.py results/step_1200 my-model

`prorl convert` is the same with a progress bar and more options.
"""

import argparse
from pathlib import Path

from transformers import AutoModelForCausalLM

from prorl_nemo.conversion.convert import ConversionOptions, convert_checkpoint

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="a step, an iteration or a run directory")
    parser.add_argument("output", type=Path, help="the new Hugging Face directory")
    arguments = parser.parse_args()
    options = ConversionOptions(should_verify=True)
    result = convert_checkpoint(arguments.checkpoint, arguments.output, options=options)
    model = AutoModelForCausalLM.from_pretrained(result.output)
    print(f"{result.output}: {model.num_parameters():,} parameters, {result.layout}")
