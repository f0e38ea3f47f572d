"""A campaign on NeMo-RL: our sections, NeMo-RL's ``policy`` and ``cluster``, all strict.

The rules that tie keys together are in ``config_rules``, the way to NeMo-RL's MasterConfig in
``master_config``. Neither NeMo-RL nor torch is needed to check a configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from prorl_nemo.config import Positive, Section
from prorl_nemo.config_campaign import Config, ProrlConfig
from prorl_nemo.engines.nemo import config_rules
from prorl_nemo.engines.nemo.config_policy import NemoPolicyConfig

GPU = Literal["A100-80GB", "H100-80GB", "H200-141GB", "B200-180GB"]

# Sections and keys of NeMo-RL that ProRL can't honour, and what to do instead.
UNSUPPORTED: Mapping[str, str] = {
    "data": "the prompts are prorl.train_tasks",
    "env": "the rewards are prorl.train_tasks and prorl.rewards",
    "data_plane": "the training loop is ProRL's, without a transfer queue",
    "on_policy_distillation": "not part of ProRL",
    "grpo.use_dynamic_sampling": "it filters single samples; use prorl.dynamic_sampling",
    "grpo.dynamic_sampling_max_gen_batches": "use prorl.dynamic_sampling.max_request_factor",
    "grpo.batch_multiplier": "requests are sized from the observed pass rate",
    "grpo.async_grpo": "asynchronous training excludes dynamic sampling and reward shaping",
    "grpo.max_num_steps": "the steps are those of prorl.schedule",
    "grpo.max_rollout_turns": "ProRL's tasks have one turn",
    "grpo.reward_scaling": "not part of ProRL",
    "grpo.use_leave_one_out_baseline": "use grpo.adv_estimator.name=leave_one_out",
    "grpo.normalize_rewards": "use grpo.adv_estimator.normalize_rewards",
    "loss_fn.use_kl_in_reward": "ProRL keeps the KL in the loss",
    "loss_fn.force_on_policy_ratio": "ProRL makes several updates per rollout",
    "loss_fn.disable_ppo_ratio": "not part of ProRL's loss",
    "loss_fn.sequence_level_importance_ratios": "not part of ProRL's loss",
    "loss_fn.use_cispo": "not part of ProRL's loss",
    "loss_fn.positive_example_nll_weight": "not part of ProRL's loss",
    "policy.draft": "speculative draft models are not trained",
    "policy.reward_model_cfg": "rewards are verified, not modelled",
    "policy.router_replay": "mixture-of-experts models are not supported",
    "policy.hf_config_overrides": "convert such a model first and name its directory",
    "policy.megatron_cfg.peft": "a reset needs all weights of the reference",
    "policy.megatron_cfg.expert_model_parallel_size": "mixture-of-experts is not supported",
    "policy.dtensor_cfg.lora_cfg": "a reset needs all weights of the reference",
    "policy.dtensor_cfg._v2": "version 2 is always used",
    "policy.scheduler": "the learning rate is constant",
    "policy.generation.mcore_generation_config": "generation is vLLM's",
    "policy.generation.sglang_cfg": "generation is vLLM's",
    "checkpointing.checkpoint_must_save_by": "signals and the file STOP end a segment",
    "checkpointing.metric_name": "the newest checkpoints and the best are kept",
}


class ClusterConfig(Section):
    num_nodes: Positive
    gpus_per_node: Positive


class NemoSection(Section):
    """What only the NeMo-RL engine needs."""

    release_config: str
    """The release's YAML to inherit from, relative to NEMO_RL_ROOT."""
    gpu: GPU
    """The card: what it holds and which FP8 recipes it can do."""
    reset_by: Literal["in_place", "restart"]
    """in_place: the workers load the pin as their reference; restart: new workers start from it."""
    overrides: dict[str, object]
    """Dotted keys of NeMo-RL's own configuration and their values; they must exist there."""


class NemoProrlConfig(ProrlConfig):
    nemo: NemoSection


class NemoCampaignConfig(Config):
    """The whole configuration when prorl.engine is nemo."""

    policy: NemoPolicyConfig  # type: ignore[assignment]  # the same keys where ProRL reads them
    prorl: NemoProrlConfig
    cluster: ClusterConfig

    @model_validator(mode="before")
    @classmethod
    def _nothing_unsupported(cls, tree: Any) -> Any:
        for key, advice in UNSUPPORTED.items():
            if isinstance(tree, Mapping) and _has(tree, key.split(".")):
                raise ValueError(f"{key}: {advice}")
        return tree

    @model_validator(mode="after")
    def _keys_agree(self) -> NemoCampaignConfig:
        for check in config_rules.CHECKS:
            check(self)
        return self

    @property
    def num_gpus(self) -> int:
        """GPUs of the cluster."""
        return self.cluster.num_nodes * self.cluster.gpus_per_node

    @property
    def num_training_gpus(self) -> int:
        """GPUs that train: all of them when generation is colocated."""
        return self.num_gpus - self.num_dedicated_generation_gpus

    @property
    def num_dedicated_generation_gpus(self) -> int:
        """GPUs that only generate; 0 when colocated."""
        colocated = self.policy.generation.colocated
        if colocated.enabled:
            return 0
        per_node = colocated.resources.gpus_per_node or self.cluster.gpus_per_node
        return per_node * (colocated.resources.num_nodes or 1)

    @property
    def tensor_parallel_size(self) -> int:
        policy = self.policy
        if policy.megatron_cfg.enabled:
            return policy.megatron_cfg.tensor_model_parallel_size
        return policy.dtensor_cfg.tensor_parallel_size

    @property
    def pipeline_parallel_size(self) -> int:
        megatron = self.policy.megatron_cfg
        return megatron.pipeline_model_parallel_size if megatron.enabled else 1

    @property
    def context_parallel_size(self) -> int:
        policy = self.policy
        if policy.megatron_cfg.enabled:
            return policy.megatron_cfg.context_parallel_size
        return policy.dtensor_cfg.context_parallel_size

    @property
    def model_parallel_size(self) -> int:
        """GPUs that hold one copy of the policy."""
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.context_parallel_size

    @property
    def data_parallel_size(self) -> int:
        """Copies of the policy that train side by side."""
        return self.num_training_gpus // self.model_parallel_size


def _has(tree: Mapping[str, Any], path: list[str]) -> bool:
    head, *rest = path
    if head not in tree:
        return False
    return not rest or (isinstance(tree[head], Mapping) and _has(tree[head], rest))
