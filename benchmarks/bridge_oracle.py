"""Megatron Bridge as an independent oracle of the conversion, on a CPU.

    python -m benchmarks.bridge_oracle

in an environment with megatron-bridge 0.3.1, megatron-core 0.16.1 and transformers 4.57 (both
Megatron packages by `pip install --no-deps`). For each family, random weights go

    Hugging Face -> ours -> Megatron -> Bridge -> Hugging Face, and
    Hugging Face -> Bridge -> Megatron -> ours -> Hugging Face.

Exits non-zero unless every tensor comes back with its bits. What Bridge imports and a CPU has not
(Transformer Engine's LoRA layers, ModelOpt, Triton) is replaced by empty names; none is called.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import logging
import os
import sys
import tempfile
import types
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import dist_checkpointing, parallel_state
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from prorl_nemo.conversion.convert import ConversionOptions, convert_checkpoint
from prorl_nemo.conversion.megatron_export import export_to_megatron
from tests.support.megatron_cpu import cuda_calls_on_cpu

FAMILIES: dict[str, dict[str, object]] = {
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"tie_word_embeddings": False, "head_dim": 32},
    "llama": {"tie_word_embeddings": False},
}
ABSENT = (
    "megatron.bridge.peft.lora",
    "megatron.bridge.peft.lora_layers",
    "megatron.bridge.peft.canonical_lora",
    "megatron.bridge.models.gpt_full_te_layer_autocast_spec",
    "modelopt",
    "triton",
)


class AbsentModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of ``ABSENT``: any name in them is a class that does nothing."""

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        is_absent = any(name == absent or name.startswith(f"{absent}.") for absent in ABSENT)
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if is_absent else None

    def exec_module(self, module: types.ModuleType) -> None:
        def make(name: str) -> type:
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {"__init__": ignore, "__call__": ignore})

        module.__getattr__ = make  # type: ignore[method-assign]


def ignore(*_: object, **__: object) -> None:
    pass


def main() -> int:
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    sys.meta_path.insert(0, AbsentModules())
    with tempfile.TemporaryDirectory() as scratch:
        start_single_rank(Path(scratch))
        with cuda_calls_on_cpu():  # megatron-core synchronizes a GPU before it saves
            results = [compare(family, Path(scratch) / family) for family in FAMILIES]
        dist.destroy_process_group()
    return int(not all(results))


def start_single_rank(scratch: Path) -> None:
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    dist.init_process_group("gloo", init_method=f"file://{scratch}/store", rank=0, world_size=1)
    parallel_state.initialize_model_parallel()


def compare(family: str, folder: Path) -> bool:
    from megatron.bridge import AutoBridge

    source = make_model(family, folder / "hf")
    bridge = AutoBridge.from_hf_pretrained(str(folder / "hf"), torch_dtype=torch.float32)
    export_to_megatron(folder / "hf", folder / "ours")
    model = make_megatron_model(bridge, family)
    state = dist_checkpointing.load(
        model.sharded_state_dict(), str(folder / "ours" / "iter_0000000"), strict="log_all"
    )
    model.load_state_dict(state, strict=False)
    back = dict(bridge.export_hf_weights([model], cpu=True, show_progress=False))

    theirs = folder / "theirs" / "iter_0000000"
    theirs.mkdir(parents=True)
    model = make_megatron_model(bridge, family)
    bridge.load_hf_weights([model])
    dist_checkpointing.save(model.sharded_state_dict(), str(theirs))
    options = ConversionOptions(model_config=folder / "hf")
    convert_checkpoint(theirs, folder / "out", options=options)
    num_ours, num_theirs = (
        count_equal(source, found) for found in (back, load_file(folder / "out/model.safetensors"))
    )
    print(f"{family}: of {len(source)} tensors, by Bridge {num_ours}, from Bridge {num_theirs}")
    return num_ours == num_theirs == len(source) == len(back)


def make_model(family: str, folder: Path) -> dict[str, Tensor]:
    """A random model of every shape that the mapping cuts; its weights by name."""
    settings = AutoConfig.for_model(
        family,
        vocab_size=128,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        **FAMILIES[family],
    )
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    model.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


def make_megatron_model(bridge: Any, family: str) -> Any:
    provider = bridge.to_megatron_provider(load_weights=False)
    provider.transformer_layer_spec = get_gpt_layer_local_spec(
        qk_layernorm=family == "qwen3", normalization="RMSNorm"
    )
    provider.use_cpu_initialization, provider.bf16 = True, False
    provider.params_dtype = provider.pipeline_dtype = torch.float32
    for fused in ("gradient_accumulation", "masked_softmax", "bias_activation", "bias_dropout"):
        setattr(provider, f"{fused}_fusion", False)
    provider.persist_layer_norm = provider.apply_rope_fusion = False
    provider.finalize()
    return provider.provide(pre_process=True, post_process=True)


def count_equal(source: dict[str, Tensor], found: dict[str, Tensor]) -> int:
    return sum(name in found and torch.equal(found[name], source[name]) for name in source)


if __name__ == "__main__":
    raise SystemExit(main())
