"""The Hugging Face configuration that belongs to a checkpoint, found without a network.

Sources, in this order: a directory the user names; ``config.json`` beside the weights; the
model that NeMo-RL's ``config.yaml`` names, from disk or the Hugging Face cache; Megatron
Bridge's ``run_config.yaml`` in the iteration. Whatever it says is checked against the
shapes of the stored tensors later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prorl_nemo.conversion.locate import CheckpointSource, read_json, read_yaml
from prorl_nemo.conversion.megatron_names import DecoderShape

HUGGING_FACE_METADATA = ".hf_metadata"
ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}


@dataclass(frozen=True)
class ModelConfig:
    """``values`` as in ``config.json``; ``directory`` where the model's other files may lie."""

    values: Mapping[str, Any]
    origin: str
    directory: Path | None


def find_model_config(source: CheckpointSource, override: Path | None) -> ModelConfig:
    """The configuration for ``source``; raises ValueError when none of the places has one."""
    policy = _get_mapping(source.read_run_config(), "policy")
    name = str(policy.get("model_name") or "")
    overrides = {
        **_get_mapping(policy, "hf_config_overrides"),
        **_get_mapping(policy, "hf_overrides"),
    }
    if override is not None:
        return _read_directory(override)
    for directory in (source.weights, source.weights / HUGGING_FACE_METADATA):
        if (directory / "config.json").is_file():
            return _read_directory(directory)
    if (resolved := find_model_directory(name)) is not None:
        found = _read_directory(resolved)
        return ModelConfig({**found.values, **overrides}, found.origin, resolved)
    run_config = source.weights / "run_config.yaml"
    if provider := _get_mapping(read_yaml(run_config), "model"):
        values = {**derive_from_provider(provider, run_config), **overrides}
        return ModelConfig(values, str(run_config), None)
    wanted = f"; config.yaml names {name}, which is not on this machine" if name else ""
    raise ValueError(
        f"{source.weights}: no model configuration found{wanted}; pass --model-config DIRECTORY"
    )


def _get_mapping(values: Mapping[str, object], key: str) -> dict[str, Any]:
    section = values.get(key)
    return section if isinstance(section, dict) else {}


def _read_directory(directory: Path) -> ModelConfig:
    path = directory / "config.json" if directory.is_dir() else directory
    if not path.is_file():
        raise ValueError(f"{path}: missing: no model configuration")
    return ModelConfig(read_json(path), str(path), path.parent)


def find_model_directory(name: str) -> Path | None:
    """A model's directory on this machine: a path, or a snapshot in the Hugging Face cache."""
    if not name:
        return None
    if Path(name).is_dir():
        return Path(name)
    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        return None
    from huggingface_hub import try_to_load_from_cache  # deferred: only for names of the hub

    cached = try_to_load_from_cache(name, "config.json")
    return Path(cached).parent if isinstance(cached, str) else None


def derive_from_provider(provider: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """``config.json`` from the model section of Megatron Bridge's ``run_config.yaml``."""
    model_type = _guess_model_type(provider)
    required = ("num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads", "vocab_size")
    if missing := [key for key in required if not isinstance(provider.get(key), int)]:
        raise ValueError(f"{path}: the model section lacks {missing[0]}")
    if provider.get("num_moe_experts"):
        raise ValueError(f"{path}: mixture-of-experts models are not converted")
    if provider.get("rope_scaling"):
        raise ValueError(
            f"{path}: it does not say how RoPE is scaled; pass --model-config DIRECTORY"
        )
    heads = int(provider["num_attention_heads"])
    values: dict[str, Any] = {
        "architectures": [ARCHITECTURES[model_type]],
        "model_type": model_type,
        "hidden_act": "silu",
        "hidden_size": provider["hidden_size"],
        "intermediate_size": provider["ffn_hidden_size"],
        "num_hidden_layers": provider["num_layers"],
        "num_attention_heads": heads,
        "num_key_value_heads": provider.get("num_query_groups") or heads,
        "head_dim": provider.get("kv_channels") or provider["hidden_size"] // heads,
        "vocab_size": provider["vocab_size"],
        "max_position_embeddings": provider.get("seq_length") or 4096,
        "rms_norm_eps": provider.get("layernorm_epsilon", 1e-5),
        "rope_theta": float(provider.get("rotary_base") or 10000.0),
        "tie_word_embeddings": bool(provider.get("share_embeddings_and_output_weights")),
    }
    if model_type == "mistral":
        window = provider.get("window_size")
        values["sliding_window"] = window[0] + 1 if isinstance(window, list) else None
    return values


def _guess_model_type(provider: Mapping[str, Any]) -> str:
    target = str(provider.get("_target_", "")).rpartition(".")[2].lower()
    named = next((t for t in ("qwen2", "qwen3", "mistral", "llama") if t in target), None)
    if named is not None:
        return named
    if provider.get("qk_layernorm"):
        return "qwen3"
    return "qwen2" if provider.get("add_qkv_bias") else "llama"


def make_decoder_shape(config: ModelConfig) -> DecoderShape:
    """Sizes for Megatron's names; raises ValueError for a family that isn't mapped."""
    values = config.values
    model_type = values.get("model_type")
    if model_type not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ValueError(f"{config.origin}: model_type {model_type} is not one of {known}")
    needed = ("num_attention_heads", "num_hidden_layers", "intermediate_size", "vocab_size")
    if missing := [name for name in (*needed, "hidden_size") if not values.get(name)]:
        raise ValueError(f"{config.origin}: it lacks {missing[0]}")
    heads = int(values["num_attention_heads"])
    return DecoderShape(
        num_layers=int(values["num_hidden_layers"]),
        num_attention_heads=heads,
        num_key_value_heads=int(values.get("num_key_value_heads") or heads),
        head_dim=int(values.get("head_dim") or values["hidden_size"] // heads),
        intermediate_size=int(values["intermediate_size"]),
        vocab_size=int(values["vocab_size"]),
        is_tied=bool(load_config(config).tie_word_embeddings),
    )


def load_config(config: ModelConfig) -> Any:
    """The transformers configuration object; no remote code is run."""
    from transformers import AutoConfig  # deferred: two seconds of import

    values = dict(config.values)
    model_type = values.pop("model_type", None)
    if model_type is None:
        raise ValueError(f"{config.origin}: it names no model_type")
    try:
        return AutoConfig.for_model(model_type, **values)
    except Exception as error:  # transformers checks values its own way, with its own classes
        raise _not_usable(config, error) from error


def _not_usable(config: ModelConfig, error: Exception) -> ValueError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return ValueError(f"{config.origin}: not a usable model configuration: {reason}")


def list_expected_tensors(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the model's own parameters, tied ones once, without weights."""
    settings = load_config(config)
    try:
        with torch.device("meta"):
            model = make_model(settings)
    except Exception as error:  # an activation or a size that no model has
        raise _not_usable(config, error) from error
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    if settings.tie_word_embeddings:
        shapes.pop("lm_head.weight", None)
    return shapes


def make_model(settings: Any) -> Any:
    """The transformers model of ``settings`` in float32, unloaded; no remote code is run."""
    from transformers import AutoModelForCausalLM  # deferred: two seconds of import

    build: Any = AutoModelForCausalLM.from_config
    return build(settings, dtype=torch.float32, attn_implementation="eager").eval()
