"""Real checkpoints for the conversion tests: saved by megatron-core ranks over gloo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from tests.support.megatron_cpu import (
    MegatronShape,
    compute_logits,
    load_hugging_face_weights,
    make_gpt_model,
    parallel_layout,
    run_megatron,
)

LAYOUTS = ((1, 1), (2, 1), (1, 2), (2, 2))
PROMPT = torch.arange(12)[None] * 7 % 120

FAMILIES: dict[str, MegatronShape] = {
    "qwen2": MegatronShape(add_qkv_bias=True, tied=True, rotary_base=1e6),
    "qwen3": MegatronShape(qk_layernorm=True, head_dim=32, rotary_base=1e6),
    "llama": MegatronShape(vocab_size=125, num_query_groups=2, num_attention_heads=8, head_dim=8),
    "mistral": MegatronShape(num_query_groups=4, norm_eps=1e-5, ffn_hidden_size=160),
}


def make_hugging_face_model(family: str, shape: MegatronShape, directory: Path) -> Any:
    """A random model of ``family`` saved to ``directory``; every tensor is random, norms too."""
    settings = AutoConfig.for_model(
        family,
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.ffn_hidden_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_attention_heads,
        num_key_value_heads=shape.num_query_groups,
        head_dim=shape.head_dim,
        rms_norm_eps=shape.norm_eps,
        rope_theta=shape.rotary_base,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=shape.max_positions,
    )
    torch.manual_seed(sum(map(ord, family)))
    model = AutoModelForCausalLM.from_config(settings, dtype=shape.dtype).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            center = 1.0 if "norm" in name else 0.0
            parameter.copy_(torch.randn_like(parameter) * 0.08 + center)
    model.save_pretrained(directory)
    return model


def save_under_layouts(
    rank: int,
    jobs: dict[str, tuple[MegatronShape, dict[str, Tensor]]],
    root: str,
    layouts: tuple[tuple[int, int], ...],
) -> None:
    """Worker: the model of each job saved by every layout, resharded by megatron-core itself."""
    for name, (shape, weights) in jobs.items():
        first = Path(root) / name / "source"
        with parallel_layout(tp=1, pp=1):
            model = make_gpt_model(shape)
            load_hugging_face_weights(model, weights, shape)
            save_model(model, first)
        for tp, pp in layouts:
            with parallel_layout(tp=tp, pp=pp):
                _reshard(rank, make_gpt_model(shape), first, Path(root) / name / f"tp{tp}pp{pp}")


def save_model(model: Any, directory: Path) -> None:
    from megatron.core import dist_checkpointing

    directory.mkdir(parents=True, exist_ok=True)
    torch.distributed.barrier()
    dist_checkpointing.save(model.sharded_state_dict(), str(directory))


def load_model(model: Any, directory: Path) -> None:
    from megatron.core import dist_checkpointing

    state = dist_checkpointing.load(model.sharded_state_dict(), str(directory))
    for name in ("args", "iteration", "checkpoint_version"):  # of common.pt, not the model's
        state.pop(name, None)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected, unexpected
    assert all("_extra_state" in name for name in missing), missing


def _reshard(rank: int, model: Any, source: Path, step_directory: Path) -> None:
    load_model(model.eval(), source)
    save_model(model, step_directory / "policy/weights/iter_0000000")
    logits = compute_logits(model, PROMPT)
    is_last = rank == torch.distributed.get_world_size() - 1
    if logits is not None and is_last:
        torch.save(logits, step_directory / "logits.pt")


def write_step_files(step_directory: Path, model_directory: Path, *, step: int) -> None:
    """What NeMo-RL's CheckpointManager puts beside the weights."""
    config = {
        "policy": {"model_name": str(model_directory), "tokenizer": {"name": "none"}},
        "checkpointing": {"metric_name": "val:accuracy", "higher_is_better": True},
        "grpo": {"num_prompts_per_step": 8, "num_generations_per_prompt": 16},
        "data": {"train": {"dataset_name": "deepscaler"}},
    }
    (step_directory / "config.yaml").write_text(yaml.safe_dump(config))
    info = {"current_step": step, "total_steps": step, "val:accuracy": 0.25}
    (step_directory / "training_info.json").write_text(json.dumps(info))


def make_checkpoints(root: Path, families: dict[str, MegatronShape]) -> dict[str, Any]:
    """Every family under every layout; returns the Hugging Face models they came from."""
    models = {
        name: make_hugging_face_model(name, shape, root / name / "hugging_face")
        for name, shape in families.items()
    }
    jobs = {
        name: (shape, {k: v.detach() for k, v in models[name].state_dict().items()})
        for name, shape in families.items()
    }
    run_megatron(save_under_layouts, jobs, str(root), LAYOUTS, num_ranks=4)
    for name in families:
        for tp, pp in LAYOUTS:
            directory = root / name / f"tp{tp}pp{pp}"
            write_step_files(directory, root / name / "hugging_face", step=7)
    return models
