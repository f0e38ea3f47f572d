"""From a checked campaign to NeMo-RL's MasterConfig.

The release's own YAML is the base, our values are merged over it. A key that the release has
not got is an error: NeMo-RL itself accepts unknown keys in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nemo_rl.algorithms.grpo import MasterConfig
from nemo_rl.utils.config import load_config, register_omegaconf_resolvers
from omegaconf import DictConfig, OmegaConf

from prorl_nemo.engines.nemo.config import NemoCampaignConfig

ENVIRONMENT = "prorl"  # the one environment, by NeMo-RL's name for it
# Sections whose keys are the user's.
FREE_SECTIONS = (
    "policy.generation.vllm_kwargs",
    "policy.megatron_cfg.env_vars",
    "policy.scheduler",
)
CONSTANT_RATE = [
    {
        "name": "torch.optim.lr_scheduler.ConstantLR",
        "kwargs": {"factor": 1.0, "total_iters": 10**10},
    }
]


def build_master_config(
    config: NemoCampaignConfig, *, release_root: Path, run_directory: Path
) -> MasterConfig:
    """NeMo-RL's configuration of a run; raises ValueError that names a key it has not got."""
    register_omegaconf_resolvers()
    tree = load_config(release_root / config.prorl.nemo.release_config)
    values = _values(config, run_directory)
    for key in _leaves(values):
        if not key.startswith(FREE_SECTIONS) and not _exists(tree, key):
            raise ValueError(f"{key}: NeMo-RL's {config.prorl.nemo.release_config} has no such key")
    # A section that is replaced must not keep keys of the one before.
    for key in ("data", "env"):
        OmegaConf.update(tree, key, values.pop(key), merge=False, force_add=True)
    merged = OmegaConf.merge(tree, values)
    assert isinstance(merged, DictConfig), "two mappings make a mapping"
    for key, value in config.prorl.nemo.overrides.items():
        if not _exists(merged, key):
            raise ValueError(f"prorl.nemo.overrides.{key}: NeMo-RL has no such key")
        OmegaConf.update(merged, key, value)
    return MasterConfig.model_validate(OmegaConf.to_container(merged, resolve=True))


def _values(config: NemoCampaignConfig, run_directory: Path) -> dict[str, Any]:
    """Our values under NeMo-RL's keys."""
    grpo, steps = config.grpo, sum(run.num_steps for run in config.prorl.schedule)
    return {
        "grpo": {
            "num_prompts_per_step": grpo.num_prompts_per_step,
            "num_generations_per_prompt": grpo.num_generations_per_prompt,
            "max_num_epochs": 1_000_000,
            "max_num_steps": steps,
            "max_rollout_turns": 1,
            "val_period": 0,  # validation is the loop's
            "val_at_start": False,
            "val_at_end": False,
            "overlong_filtering": grpo.overlong_filtering,
            "seed": grpo.seed,
            "use_dynamic_sampling": False,  # ours keeps whole groups
            "batch_multiplier": 1,
            "reward_shaping": {"enabled": False},  # ours acts behind dynamic sampling
            "reward_scaling": {"enabled": False},
            "async_grpo": {"enabled": False},
        },
        "loss_fn": config.loss_fn.model_dump(),
        "policy": _policy_values(config),
        # Checkpoints are the run directory's; NeMo-RL's own manager finds nothing to resume.
        "checkpointing": {
            "enabled": True,
            "checkpoint_dir": str(run_directory / "nemo"),
            "metric_name": None,
            "keep_top_k": config.checkpointing.keep_top_k,
            "save_optimizer": True,
        },
        "logger": {
            "log_dir": str(run_directory / "nemo_logs"),
            "tensorboard_enabled": config.logger.tensorboard_enabled,
            "wandb_enabled": False,  # one W&B run per campaign, and it is ProRL's
        },
        "cluster": config.cluster.model_dump(),
        "data": {
            "max_input_seq_length": config.policy.max_total_sequence_length,
            "shuffle": False,
            "num_workers": 0,
            "use_multiple_dataloader": False,
            "train": {"dataset_name": ENVIRONMENT, "env_name": ENVIRONMENT},
            "validation": None,
            "default": {"env_name": ENVIRONMENT},
        },
        "env": {ENVIRONMENT: {"num_workers": config.prorl.rewards.num_workers}},
    }


def _policy_values(config: NemoCampaignConfig) -> dict[str, Any]:
    values: dict[str, Any] = config.policy.model_dump(mode="json")
    values["dtensor_cfg"]["_v2"] = True
    if config.policy.dtensor_cfg.enabled:
        values["scheduler"] = CONSTANT_RATE
        del values["megatron_cfg"]["env_vars"]
    else:
        values["megatron_cfg"]["scheduler"]["lr_decay_style"] = "constant"
    return values


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and key not in ("data", "env"):
            yield from _leaves(value, f"{key}.")
        else:
            yield key


def _exists(tree: DictConfig, key: str) -> bool:
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(tree, parent) if parent else tree
    return isinstance(node, DictConfig) and leaf in node
