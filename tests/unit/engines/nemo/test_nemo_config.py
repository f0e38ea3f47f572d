"""Every shipped campaign is sound; every wrong one is refused with the key named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from prorl_nemo.config_loading import ConfigError, config_of_run, read_yaml
from prorl_nemo.engines.nemo.plan import campaign_gpu_hours, plan_run
from tests.unit.engines.nemo.conftest import CAMPAIGNS, LoadCampaign

FP8 = "policy.megatron_cfg.fp8_cfg"
MEGATRON = "policy.megatron_cfg"
VLLM = "policy.generation.vllm_cfg"

# Overrides of conf/prorl_1.5b.yaml, and the key that the refusal names.
WRONG: list[tuple[str, list[str], str]] = [
    ("typo in the loss", ["+loss_fn.ratio_clip_mx=0.4"], "loss_fn.ratio_clip_mx"),
    ("typo in the layout", [f"+{MEGATRON}.tensor_parallel=2"], f"{MEGATRON}.tensor_parallel"),
    ("typo in the cluster", ["+cluster.gpu_per_node=8"], "cluster.gpu_per_node"),
    ("typo in our section", ["+prorl.nemo.resetby=restart"], "prorl.nemo.resetby"),
    ("missing key", ["~cluster.num_nodes"], "cluster.num_nodes"),
    ("their dynamic sampling", ["+grpo.use_dynamic_sampling=true"], "grpo.use_dynamic_sampling"),
    ("async with dynamic sampling", ["+grpo.async_grpo={enabled: true}"], "grpo.async_grpo"),
    ("their data", ["+data={train: {dataset_name: DeepScaler}}"], "data"),
    ("their environments", ["+env={math: {num_workers: 8}}"], "env"),
    ("LoRA", [f"+{MEGATRON}.peft={{enabled: true}}"], f"{MEGATRON}.peft"),
    ("draft model", ["+policy.draft={enabled: true}"], "policy.draft"),
    ("KL in the reward", ["+loss_fn.use_kl_in_reward=true"], "loss_fn.use_kl_in_reward"),
    ("timeout saves", ["+checkpointing.checkpoint_must_save_by=1"], "checkpoint_must_save_by"),
    ("FP8 format", [f"{FP8}.enabled=true", f"{FP8}.fp8=bogus"], f"{FP8}.fp8"),
    ("FP8 recipe", [f"{FP8}.enabled=true", f"{FP8}.fp8_recipe=nonsense"], f"{FP8}.fp8_recipe"),
    ("MXFP8 on H100", [f"{FP8}.enabled=true", f"{FP8}.fp8_recipe=mxfp8"], f"{FP8}.fp8_recipe"),
    ("FP8 on A100", [f"{FP8}.enabled=true", "prorl.nemo.gpu=A100-80GB"], f"{FP8}.fp8_recipe"),
    ("FP8 parameters alone", [f"{FP8}.fp8_param=true"], f"{FP8}.fp8_param"),
    (
        "FP8 with the precision-aware optimizer",
        [f"{FP8}.enabled=true", f"{MEGATRON}.optimizer.use_precision_aware_optimizer=true"],
        f"{MEGATRON}.optimizer.use_precision_aware_optimizer",
    ),
    (
        "FP8 rollouts uncorrected",
        [
            f"{VLLM}.precision=fp8",
            "loss_fn.use_importance_sampling_correction=false",
            "loss_fn.truncated_importance_sampling_type=null",
        ],
        "loss_fn.use_importance_sampling_correction",
    ),
    ("FP8 cache", [f"{VLLM}.kv_cache_dtype=fp8"], f"{VLLM}.kv_cache_dtype"),
    (
        "TP against heads",
        [f"{MEGATRON}.tensor_model_parallel_size=8"],
        f"{MEGATRON}.tensor_model_parallel_size",
    ),
    (
        "PP against layers",
        [f"{MEGATRON}.pipeline_model_parallel_size=8"],
        f"{MEGATRON}.pipeline_model_parallel_size",
    ),
    (
        "layout against cluster",
        [f"{MEGATRON}.context_parallel_size=3", "policy.make_sequence_length_divisible_by=6"],
        f"{MEGATRON}.tensor_model_parallel_size",
    ),
    ("update against groups", ["policy.train_global_batch_size=1000"], "train_global_batch_size"),
    ("update against ranks", ["cluster.num_nodes=3"], "policy.train_global_batch_size"),
    ("rollout against updates", ["grpo.num_prompts_per_step=100"], "grpo.num_prompts_per_step"),
    (
        "microbatch against rank",
        ["policy.sequence_packing.enabled=false", "policy.train_micro_batch_size=3"],
        "policy.train_micro_batch_size",
    ),
    (
        "TP 4 with unequal microbatches",
        [
            "policy.model_name=deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
            f"{MEGATRON}.tensor_model_parallel_size=4",
            "policy.logprob_batch_size=2",
        ],
        "policy.logprob_batch_size",
    ),
    ("two ways to pack", ["policy.dynamic_batching.enabled=true"], "dynamic_batching.enabled"),
    (
        "dynamic batches with PP",
        [
            "policy.sequence_packing.enabled=false",
            "policy.dynamic_batching.enabled=true",
            f"{MEGATRON}.pipeline_model_parallel_size=2",
        ],
        "policy.dynamic_batching.enabled",
    ),
    ("packs too short", ["policy.sequence_packing.train_mb_tokens=4096"], "train_mb_tokens"),
    ("sequence parallelism alone", [f"{MEGATRON}.sequence_parallel=true"], "sequence_parallel"),
    (
        "padding against sequence parallelism",
        [
            f"{MEGATRON}.tensor_model_parallel_size=2",
            f"{MEGATRON}.sequence_parallel=true",
            "policy.make_sequence_length_divisible_by=1",
        ],
        "policy.make_sequence_length_divisible_by",
    ),
    ("two backends", ["policy.dtensor_cfg.enabled=true"], f"{MEGATRON}.enabled"),
    ("no backend", [f"{MEGATRON}.enabled=false"], f"{MEGATRON}.enabled"),
    ("top-p", ["policy.generation.top_p=0.95"], "policy.generation.top_p"),
    ("top-k", ["policy.generation.top_k=50"], "policy.generation.top_k"),
    ("engine's length", [f"{VLLM}.max_model_len=8192"], f"{VLLM}.max_model_len"),
    ("engine's GPUs", [f"{VLLM}.tensor_parallel_size=3"], f"{VLLM}.tensor_parallel_size"),
    ("validation sampling", ["prorl.validation.temperature=0.6"], "prorl.validation.temperature"),
    ("decaying rate", [f"{MEGATRON}.optimizer.min_lr=1e-7"], f"{MEGATRON}.optimizer.min_lr"),
    (
        "restart that keeps the optimizer",
        ["prorl.nemo.reset_by=restart", "prorl.reset.reset_optimizer=false"],
        "prorl.nemo.reset_by",
    ),
    (
        "no GPU left",
        [
            "policy.generation.colocated={enabled: false, resources: "
            "{gpus_per_node: 8, num_nodes: 4}}"
        ],
        "policy.generation.colocated.resources",
    ),
    (
        "a later run that can't divide",
        ["prorl.schedule.1.overrides={policy.train_global_batch_size: 1040}"],
        "train_global_batch_size",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("path", CAMPAIGNS, ids=lambda path: path.stem)
def test_every_shipped_campaign_is_sound_in_all_of_its_runs(
    path: Path, load_campaign: LoadCampaign
) -> None:
    config = load_campaign(path)
    runs = [config_of_run(config, index) for index in range(len(config.prorl.schedule))]
    for run_config, run in zip(runs, config.prorl.schedule, strict=True):
        lines = plan_run(run_config, num_steps=run.num_steps)
        assert any("GPU hours" in line for line in lines)
    steps = [run.num_steps for run in config.prorl.schedule]
    hours = campaign_gpu_hours(list(zip(runs, steps, strict=True)))
    assert hours is not None
    assert hours > 0


@pytest.mark.parametrize(
    ("overrides", "key"), [case[1:] for case in WRONG], ids=[c[0] for c in WRONG]
)
def test_a_wrong_campaign_is_refused_by_its_key(
    overrides: list[str], key: str, load_campaign: LoadCampaign, small_campaign: Path
) -> None:
    with pytest.raises(ConfigError) as refusal:
        load_campaign(small_campaign, tuple(overrides))
    message = str(refusal.value)
    assert key in message
    assert "\n" not in message


def test_the_small_campaign_itself_is_sound(
    load_campaign: LoadCampaign, small_campaign: Path
) -> None:
    assert load_campaign(small_campaign).data_parallel_size == 32


def test_the_refusals_are_at_least_thirty_and_different() -> None:
    assert len({tuple(case[1]) for case in WRONG}) >= 30


@pytest.mark.parametrize("path", CAMPAIGNS[1:], ids=lambda path: path.stem)
def test_a_recipe_holds_differences_only(path: Path) -> None:
    """No key of a recipe repeats the value it inherits."""
    tree = OmegaConf.load(path)
    parent = read_yaml(path.parent / str(tree.pop("defaults")))
    repeated = [key for key, value in _leaves(tree) if OmegaConf.select(parent, key) == value]
    # Said again on purpose: FP8 rollouts must be corrected, whatever the base does.
    assert [key for key in repeated if not key.startswith("loss_fn.")] == []


def test_what_does_not_fit_is_refused(load_campaign: LoadCampaign, small_campaign: Path) -> None:
    large = "policy.model_name=deepseek-ai/DeepSeek-R1-Distill-Qwen-32B"
    config = load_campaign(small_campaign, (large,))
    with pytest.raises(ValueError, match="does not fit on H100-80GB"):
        plan_run(config, num_steps=1)


def test_plan_prints_a_thousand_gpus(load_campaign: LoadCampaign) -> None:
    path = next(path for path in CAMPAIGNS if "128n8g" in path.name)
    lines = plan_run(load_campaign(path), num_steps=100)
    assert any("1024 x H100-80GB" in line for line in lines)


def test_checking_needs_neither_torch_nor_nemo_rl() -> None:
    code = (
        "import sys\n"
        "import prorl_nemo.engines.nemo.plan\n"
        "loaded = {'torch', 'ray', 'nemo_rl', 'megatron', 'transformers'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _leaves(node: object, prefix: str = "") -> list[tuple[str, object]]:
    if not OmegaConf.is_dict(node):
        return [(prefix, node)]
    return [
        leaf
        for key in node  # type: ignore[attr-defined]
        for leaf in _leaves(node[key], f"{prefix}.{key}" if prefix else str(key))  # type: ignore[index]
    ]
