"""The one loop over NeMo-RL's own parts: sampling, resets, checkpoints, resume, parity."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("nemo_rl", reason="needs a NeMo-RL v0.7.0 source tree on PYTHONPATH")

from nemo_rl.algorithms.grpo import _default_grpo_save_state, grpo_train
from nemo_rl.algorithms.loss import ClippedPGLossFn
from nemo_rl.data.collate_fn import rl_collate_fn
from nemo_rl.utils.checkpoint import CheckpointManager

from prorl_nemo.engines.nemo.engine import NemoEngine
from prorl_nemo.engines.nemo.environment import ENVIRONMENT, ResponseId
from prorl_nemo.engines.nemo.loss_fn import make_loss_fn
from prorl_nemo.engines.nemo.master_config import build_master_config
from prorl_nemo.engines.nemo.release import find_release_root
from prorl_nemo.engines.nemo.rollouts import PromptEncoder, make_datum
from prorl_nemo.types import PromptGroup
from tests.nemo.campaigns import (
    Campaign,
    Records,
    make_logger,
    make_prompts,
    small_config,
    start_letters,
)
from tests.nemo.letters import LetterTask, LetterTokenizer
from tests.nemo.standins import CpuGeneration, CpuPolicy

pytestmark = [pytest.mark.nemo, pytest.mark.slow]


@pytest.fixture(scope="module")
def environment(ray_cluster: None) -> Any:
    return start_letters()


@pytest.fixture(scope="module")
def whole(environment: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Campaign, Records]:
    """Five steps without an interruption."""
    root = tmp_path_factory.mktemp("whole")
    campaign, records = Campaign(root, small_config(grpo={"val_period": 3}), environment), Records()
    assert campaign.run([records]) == "run_finished"
    return campaign, records


def test_the_campaign_samples_resets_validates_and_saves(whole: tuple[Campaign, Records]) -> None:
    campaign, records = whole
    steps = [record for record in records.rows if record.step > 0]
    assert [record.step for record in steps] == [1, 2, 3, 4, 5]
    assert [record.reset for record in steps] == [None, "period", None, "period", None]
    assert all(record.train and record.train.num_updates == 2 for record in steps)
    # Dynamic sampling asked for more than it used, and dropped what taught nothing.
    sampling = [record.sampling for record in steps if record.sampling is not None]
    generated = sum(entry.num_groups_generated for entry in sampling)
    informative = sum(entry.num_groups_informative for entry in sampling)
    assert generated > informative >= sum(entry.num_groups_used for entry in sampling)
    # KL: grows behind the first update, is exactly 0 in the step behind a reset.
    kls = [record.batch.kl for record in steps if record.batch is not None]
    assert kls[0] == kls[2] == kls[4] == 0
    assert kls[1] > 0
    assert kls[3] > 0
    assert sum(record.validation is not None for record in records.rows) == 2
    assert (campaign.root / "nemo_logs").is_dir()


def test_cards_change_hands_in_nemo_rls_order(whole: tuple[Campaign, Records]) -> None:
    calls = whole[0].policy.calls
    first = calls.index("stream_weights")
    assert calls[first - 1 : first + 2] == [
        "offload_before_refit",
        "stream_weights",
        "offload_after_refit",
    ]
    logprobs = calls.index("prepare_for_lp_inference")
    assert calls[logprobs : logprobs + 2] == ["prepare_for_lp_inference", "prepare_for_training"]
    reset = calls.index("load_reference")
    assert calls[reset : reset + 3] == [
        "load_reference",
        "compute_state_digest",
        "clear_optimizer_state",
    ]
    assert calls[-1] == "shutdown"


def test_nemo_rls_checkpoint_manager_finds_what_was_saved(whole: tuple[Campaign, Records]) -> None:
    checkpoints = whole[0].root / "checkpoints"
    manager = CheckpointManager(
        {
            "checkpoint_dir": str(checkpoints),
            "metric_name": None,
            "higher_is_better": True,
            "keep_top_k": 3,
            "save_optimizer": True,
        }
    )
    latest = manager.get_latest_checkpoint_path()
    assert latest == str(checkpoints / "step_000005")
    weights, optimizer = manager.get_resume_paths(latest)
    assert weights is not None
    assert (weights / "model.pt").is_file()
    assert optimizer is not None


def test_a_resumed_campaign_has_its_reference_and_ends_with_the_same_weights(
    whole: tuple[Campaign, Records], environment: Any, tmp_path: Path
) -> None:
    campaign = Campaign(tmp_path, whole[0].config, environment)
    stop = tmp_path / "STOP"
    records = Records(behind_step=lambda step: stop.touch() if step == 3 else None)
    assert campaign.run([records]) == "stopped"
    stop.unlink()
    assert campaign.run([Records()]) == "run_finished"
    assert campaign.starts[0].weights is None
    assert campaign.starts[1].reference == tmp_path / "pins" / "step_000002" / "policy" / "weights"
    final, expected = campaign.policy, whole[0].policy
    for name, value in expected.model.state_dict().items():
        assert torch.equal(final.model.state_dict()[name], value), name
        assert torch.equal(final.reference[name], expected.reference[name]), name


def test_a_reset_by_restart_ends_where_a_reset_in_place_does(
    whole: tuple[Campaign, Records], environment: Any, tmp_path: Path
) -> None:
    config = small_config(grpo={"val_period": 3}, prorl={"nemo": {"reset_by": "restart"}})
    campaign = Campaign(tmp_path, config, environment)
    assert campaign.run([Records()]) == "run_finished"
    assert len(campaign.policies) == 3  # the base, and one for each reset
    assert all("load_reference" not in policy.calls for policy in campaign.policies)
    for name, value in whole[0].policy.model.state_dict().items():
        assert torch.equal(campaign.policy.model.state_dict()[name], value), name


def test_asynchronous_rollouts_keep_groups_whole_and_in_order(
    environment: Any, tmp_path: Path
) -> None:
    config = small_config(policy={"generation": {"vllm_cfg": {"async_engine": True}}})
    campaign = Campaign(tmp_path, config, environment)
    engine = NemoEngine(config, campaign.start_parts)
    prompts = [PromptGroup(10 + index, LetterTask()[20 * index]) for index in range(5)]
    batch = engine.rollout(prompts, step=0)
    assert batch.group_ids.tolist() == [10 + row // 4 for row in range(20)]
    for row in range(20):
        problem, start = prompts[row // 4].problem, int(batch.prompt_lengths[row])
        ids = batch.input_ids[row, : int(batch.input_lengths[row])]
        prompt, response = LetterTokenizer().batch_decode([ids[:start], ids[start:]])
        assert prompt == problem.prompt
        assert float(batch.rewards[row]) == LetterTask().score(problem, response).reward
        assert bool(batch.scorer_failed[row]) == ("ff" in response)
    engine.close()


def test_a_whole_campaign_runs_over_asynchronous_rollouts(environment: Any, tmp_path: Path) -> None:
    config = small_config(policy={"generation": {"vllm_cfg": {"async_engine": True}}})
    records = Records()
    assert Campaign(tmp_path, config, environment).run([records]) == "run_finished"
    assert [row.reset for row in records.rows if row.step > 0] == [
        None,
        "period",
        None,
        "period",
        None,
    ]


def test_a_checkpoint_without_its_optimizer_is_not_resumed(
    whole: tuple[Campaign, Records], tmp_path: Path
) -> None:
    """NeMo-RL's manager warns and begins with a new optimizer."""
    campaign = whole[0]
    policy = tmp_path / "step" / "policy"
    shutil.copytree(campaign.root / "checkpoints" / "step_000005" / "policy", policy)
    shutil.rmtree(policy / "optimizer")
    engine = NemoEngine(campaign.config, campaign.start_parts)
    with (
        pytest.warns(UserWarning, match="freshly initialized"),
        pytest.raises(OSError, match="no optimizer"),
    ):
        engine.load(policy, reference=None)


def test_a_bad_gradient_stops_the_run_before_the_optimizer(
    environment: Any, tmp_path: Path
) -> None:
    campaign = Campaign(tmp_path, small_config(), environment)

    def poison(step: int) -> None:
        campaign.policy.model.embedding.register_hook(lambda gradient: gradient * torch.nan)

    with pytest.raises(FloatingPointError, match="not finite"):
        campaign.run([Records(behind_step=poison)])
    weights = campaign.policy.model.state_dict()
    assert all(torch.isfinite(value).all() for value in weights.values())


class Batches(list[Any]):
    """A data loader of ready batches."""


@pytest.mark.parametrize("make_theirs", [ClippedPGLossFn, make_loss_fn], ids=["theirs", "ours"])
def test_without_prorls_additions_the_loop_equals_nemo_rls(
    make_theirs: Any, environment: Any, tmp_path: Path
) -> None:
    """Advantages, losses and weights of grpo_train and of prorl_train, within 1e-9."""
    num_steps = 3
    config = small_config(
        # Without the division float32 advantages of quarters are exact in both.
        grpo={"val_at_start": False, "adv_estimator": {"normalize_rewards": False}},
        prorl={
            "dynamic_sampling": {"enabled": False},
            "reset": {"period_steps": None},
            "schedule": [
                {"name": "run", "num_steps": num_steps, "reset_at_start": False, "overrides": {}}
            ],
        },
    )
    campaign = Campaign(tmp_path, config, environment)
    assert campaign.run([]) == "run_finished"

    master = build_master_config(
        config, release_root=find_release_root(), run_directory=tmp_path / "theirs"
    )
    master.checkpointing["enabled"] = False
    master.grpo["use_leave_one_out_baseline"] = False
    master.grpo["adv_estimator"].update(use_leave_one_out_baseline=False, normalize_rewards=False)
    tokenizer, prompts = LetterTokenizer(), make_prompts()
    encoder = PromptEncoder(tokenizer, 10)
    batches = Batches()
    for _ in range(num_steps):
        problems = prompts.take(config.grpo.num_prompts_per_step)
        batches.append(
            rl_collate_fn(
                [
                    make_datum(problem, encoder.encode(problem), ResponseId(index, 0))
                    for index, problem in enumerate(problems)
                ]
            )
        )
    policy = CpuPolicy(global_batch=config.policy.train_global_batch_size)
    grpo_train(
        policy,
        CpuGeneration(policy, max_new_tokens=config.policy.generation.max_new_tokens),
        batches,
        None,
        tokenizer,
        make_theirs(master.loss_fn),
        {ENVIRONMENT: environment},
        None,
        make_logger(tmp_path / "their_logs"),
        CheckpointManager({**master.checkpointing}),
        _default_grpo_save_state(),
        master,
    )
    assert len(policy.losses) == len(campaign.policy.losses) == 2 * num_steps
    assert policy.losses == pytest.approx(campaign.policy.losses, abs=1e-9)
    for theirs, ours in zip(policy.advantages, campaign.policy.advantages, strict=True):
        assert theirs.abs().max() > 0
        assert torch.allclose(theirs, ours, atol=1e-9, rtol=0)
    for name, value in policy.model.state_dict().items():
        assert torch.allclose(campaign.policy.model.state_dict()[name], value, atol=1e-9, rtol=0)
