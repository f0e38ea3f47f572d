"""The eight verbs on a random model: parity with full forward passes, and the reset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from prorl_nemo.batching import make_train_batch
from prorl_nemo.engines.local.engine import LocalEngine
from prorl_nemo.engines.local.forward import (
    ResponseRows,
    compute_logprobs_and_entropy,
    split_by_length,
)
from prorl_nemo.engines.local.model import load_codec, load_policy
from prorl_nemo.step_record import reference_kl
from prorl_nemo.types import RolloutBatch, TrainBatch, concatenate_rollouts
from tests.support.tiny_policy import engine_config, make_engine, make_prompts, write_tiny_policy

PROMPTS = make_prompts("a longer prompt", "b", "seven", "mn")
# AdamW with a large eps moves by about the gradient: small differences stay small.
GENTLE = ("policy.optimizer.lr=1.0", "policy.optimizer.eps=10.0")


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_policy(tmp_path_factory.mktemp("policy"))


def make_batch(engine: LocalEngine, *overrides: str, step: int = 1) -> TrainBatch:
    rollouts = engine.rollout(PROMPTS, step=step - 1)
    return engine.compute_logprobs(make_train_batch(rollouts, engine._config, step=step))


def weights(engine: LocalEngine) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in engine._policy.state_dict().items()}


def full_forward(engine: LocalEngine, batch: TrainBatch) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropy from unpadded rows without cache, [B, S]."""
    rollouts = batch.rollouts
    logprobs = torch.zeros(rollouts.input_ids.shape, dtype=torch.float64)
    entropy = torch.zeros_like(logprobs)
    temperature = engine._config.policy.generation.temperature
    for row in range(len(rollouts)):
        start, end = int(rollouts.prompt_lengths[row]), int(rollouts.input_lengths[row])
        ids = rollouts.input_ids[row, :end]
        logits = engine._policy(input_ids=ids[None], use_cache=False).logits[0, start - 1 : -1]
        distribution = torch.log_softmax(logits.double() / temperature, dim=-1)
        logprobs[row, start:end] = distribution.gather(-1, ids[start:, None])[:, 0]
        entropy[row, start:end] = -(distribution.exp() * distribution).sum(dim=-1)
    return logprobs, entropy


def test_a_rollout_holds_whole_groups_in_order(model_path: Path) -> None:
    rollouts = make_engine(model_path).rollout(make_prompts("xy", "z", first_id=7), step=3)
    assert rollouts.group_ids.tolist() == [7] * 4 + [8] * 4
    assert rollouts.policy_step.tolist() == [3] * 8
    assert rollouts.task_names == ("even",) * 8
    assert rollouts.prompt_lengths.tolist() == [3] * 4 + [2] * 4  # and the answer mark
    assert int(rollouts.response_lengths.min()) >= 1
    assert int(rollouts.response_lengths.max()) <= 6
    assert rollouts.rewards.dtype == torch.float32
    mask = torch.zeros_like(rollouts.input_ids, dtype=torch.bool)
    for row in range(8):
        mask[row, rollouts.prompt_lengths[row] : rollouts.input_lengths[row]] = True
    assert bool((rollouts.generation_logprobs[mask] < 0).all())
    assert bool((rollouts.generation_logprobs[~mask] == 0).all())


def test_a_rollout_depends_on_its_groups_and_not_on_what_ran_before(model_path: Path) -> None:
    one, two = make_engine(model_path), make_engine(model_path)
    two.rollout(make_prompts("other", first_id=90), step=0)
    assert torch.equal(
        one.rollout(PROMPTS, step=0).input_ids, two.rollout(PROMPTS, step=0).input_ids
    )
    later = one.rollout(make_prompts("a longer prompt", "b", "seven", "mn", first_id=4), step=0)
    assert not torch.equal(later.rewards, two.rollout(PROMPTS, step=0).rewards)


def test_validation_is_a_function_of_the_step(model_path: Path) -> None:
    engine = make_engine(model_path)
    problems = [group.problem for group in PROMPTS]
    first = engine.validate(problems, num_samples=8, step=4)
    assert engine.validate(problems, num_samples=8, step=4) == first
    assert engine.validate(problems, num_samples=8, step=8) != first
    assert first.task_scores == (("even", first.score),)
    assert (first.num_problems, first.num_samples) == (4, 8)


def test_a_prompt_that_does_not_fit_is_named(model_path: Path) -> None:
    engine = make_engine(model_path)
    with pytest.raises(
        ValueError, match=r"^policy.max_total_sequence_length: the prompt of even/x"
    ):
        engine.rollout(make_prompts("x" * 43), step=0)
    engine.rollout(make_prompts("x" * 41), step=0)


@pytest.mark.parametrize("slots", [100_000, 60, 1])
def test_logprobs_and_entropy_are_those_of_a_full_forward(model_path: Path, slots: int) -> None:
    engine = make_engine(model_path, f"policy.dynamic_batching.logprob_mb_tokens={slots}")
    batch = make_batch(engine)
    with torch.no_grad():
        logprobs, entropy = full_forward(engine, batch)
    torch.testing.assert_close(batch.prev_logprobs.double(), logprobs, atol=1e-5, rtol=0)
    torch.testing.assert_close(batch.entropy.double(), entropy, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        batch.rollouts.generation_logprobs, batch.prev_logprobs, atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        batch.reference_policy_logprobs, batch.prev_logprobs, atol=1e-5, rtol=0
    )


def test_what_sampling_knew_is_computed_again_once_the_weights_have_changed(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A carried group sits beside fresh ones: only its rows need a forward pass of the policy."""
    engine = make_engine(model_path)
    old = engine.rollout(PROMPTS[:1], step=0)
    engine.train(make_batch(engine))
    fresh = engine.rollout(make_prompts("abc", "de", first_id=10), step=1)
    rollouts = concatenate_rollouts([old, fresh])
    computed: list[int] = []
    forward = engine._forward

    def count(rollouts: RolloutBatch, part: ResponseRows) -> tuple[Tensor, Tensor]:
        computed.extend(part.rows.tolist())
        return forward(rollouts, part)

    monkeypatch.setattr(engine, "_forward", count)
    batch = engine.compute_logprobs(make_train_batch(rollouts, engine._config, step=2))
    # The policy's rows of the old group, then the reference's of all.
    assert sorted(computed) == sorted([*range(len(old)), *range(len(rollouts))])
    with torch.no_grad():
        logprobs, entropy = full_forward(engine, batch)
    torch.testing.assert_close(batch.prev_logprobs.double(), logprobs, atol=1e-5, rtol=0)
    torch.testing.assert_close(batch.entropy.double(), entropy, atol=1e-5, rtol=0)
    moved = (batch.prev_logprobs - rollouts.generation_logprobs)[: len(old)].abs().max()
    assert float(moved) > 1e-3  # the old group's were written by other weights
    engine.save(tmp_path, weights_only=False)
    engine.load(tmp_path, reference=None)
    computed.clear()
    engine.compute_logprobs(batch)
    assert sorted(computed) == sorted(2 * list(range(len(rollouts))))


def test_low_precision_does_not_reuse_what_sampling_knew(model_path: Path) -> None:
    engine = make_engine(model_path, "policy.precision=bfloat16")
    batch = make_batch(engine)
    assert torch.equal(batch.prev_logprobs, batch.reference_policy_logprobs)


def test_the_gradient_flows_through_shared_prompts(model_path: Path) -> None:
    """Prompts computed once per group give the gradient of whole rows, in float64."""
    engine = make_engine(model_path)
    batch = make_batch(engine)
    engine._policy.double()
    coefficients = torch.randn(batch.advantages.shape, generator=torch.Generator().manual_seed(1))
    temperature = engine._config.policy.generation.temperature
    rows = torch.arange(len(batch.rollouts))
    part = ResponseRows.of(batch.rollouts, rows)
    values, _ = compute_logprobs_and_entropy(
        engine._policy, batch.rollouts, part, temperature=temperature, precision=torch.float32
    )
    shared = torch.where(part.is_response, part.take(coefficients.double()) * values, 0.0).sum()
    whole = (full_forward(engine, batch)[0] * coefficients.double()).sum()
    assert float(shared) == pytest.approx(float(whole), rel=1e-6)
    parameters = list(engine._policy.parameters())
    ours = torch.autograd.grad(shared, parameters)
    theirs = torch.autograd.grad(whole, parameters)
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("slots", [60, 1])
def test_microbatches_add_up_to_the_full_batch(model_path: Path, slots: int) -> None:
    whole = make_engine(model_path, *GENTLE, "policy.train_global_batch_size=16")
    parts = make_engine(
        model_path,
        *GENTLE,
        "policy.train_global_batch_size=16",
        f"policy.dynamic_batching.train_mb_tokens={slots}",
    )
    batch, before = make_batch(whole), weights(whole)
    expected, found = whole.train(batch), parts.train(batch)
    assert (expected.num_updates, found.num_updates) == (1, 1)
    assert found.loss == pytest.approx(expected.loss, abs=1e-6)
    assert found.grad_norm == pytest.approx(expected.grad_norm, rel=1e-4)
    moved = max(float((weights(whole)[name] - before[name]).abs().max()) for name in before)
    assert moved > 1e-3
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], value, atol=1e-6, rtol=1e-5)


def test_updates_are_cut_by_the_global_batch_size(model_path: Path) -> None:
    engine = make_engine(model_path, "policy.train_global_batch_size=8")
    assert engine.train(make_batch(engine)).num_updates == 2


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_advantage_moves_the_logprobs_its_way(model_path: Path, sign: float) -> None:
    engine = make_engine(model_path, "policy.optimizer.lr=1e-3")
    batch = make_batch(engine)
    first = (batch.rollouts.group_ids == 0)[:, None]
    advantages = torch.where(first, sign, 0.0).expand_as(batch.advantages)
    engine.train(replace(batch, advantages=advantages))
    after = engine.compute_logprobs(batch)
    change = torch.where(batch.token_mask & first, after.prev_logprobs - batch.prev_logprobs, 0.0)
    assert sign * float(change.sum()) > 0.1


def test_rows_outside_the_sample_mask_teach_nothing(model_path: Path) -> None:
    one, two = make_engine(model_path), make_engine(model_path)
    batch = make_batch(one)
    keep = batch.rollouts.group_ids < 2
    poisoned = torch.where(keep[:, None], batch.advantages, 1e6)
    one.train(replace(batch, sample_mask=keep))
    two.train(replace(batch, sample_mask=keep, advantages=poisoned))
    for name, value in weights(one).items():
        assert torch.equal(weights(two)[name], value)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_the_optimizer(model_path: Path, bad: float) -> None:
    engine = make_engine(model_path, "policy.train_global_batch_size=16")
    batch, before = make_batch(engine), weights(engine)
    advantages = batch.advantages.clone()
    advantages[0] = bad
    with pytest.raises(FloatingPointError, match="not finite"):
        engine.train(replace(batch, advantages=advantages))
    for name, value in weights(engine).items():
        assert torch.equal(value, before[name])


def test_the_kl_is_zero_after_a_reset_and_after_a_resume_behind_it(
    model_path: Path, tmp_path: Path
) -> None:
    engine = make_engine(model_path)
    engine.train(make_batch(engine))
    assert reference_kl(make_batch(engine, step=2)) > 1e-6
    for name in ("pin", "checkpoint"):
        (tmp_path / name).mkdir()
    engine.save(tmp_path / "pin", weights_only=True)
    engine.reset_reference(tmp_path / "pin", reset_optimizer=True)
    engine.save(tmp_path / "checkpoint", weights_only=False)
    assert reference_kl(make_batch(engine, step=2)) < 1e-10
    resumed = make_engine(model_path)
    resumed.load(tmp_path / "checkpoint", reference=tmp_path / "pin")
    assert reference_kl(make_batch(resumed, step=2)) < 1e-10
    without = make_engine(model_path)
    without.load(tmp_path / "checkpoint", reference=None)
    assert reference_kl(make_batch(without, step=2)) > 1e-6


@pytest.mark.parametrize("reset_optimizer", [True, False])
def test_a_reset_clears_the_optimizer_only_if_asked(
    model_path: Path, tmp_path: Path, reset_optimizer: bool
) -> None:
    engine = make_engine(model_path, "policy.optimizer.warmup_updates=100")
    batch = make_batch(engine)
    engine.train(batch)
    engine.save(tmp_path, weights_only=True)
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == ["model.safetensors"]
    engine.reset_reference(tmp_path, reset_optimizer=reset_optimizer)
    learning_rate = engine.train(batch).learning_rate
    # Two updates per step: the second of the first, or of the second step.
    assert learning_rate == pytest.approx(0.01 * (2 if reset_optimizer else 4) / 101)


def test_what_was_saved_goes_on_bit_for_bit(model_path: Path, tmp_path: Path) -> None:
    engine = make_engine(model_path)
    engine.train(make_batch(engine))
    engine.save(tmp_path, weights_only=False)
    resumed = make_engine(model_path)
    resumed.load(tmp_path, reference=None)
    for step in (2, 3):
        metrics = [one.train(make_batch(one, step=step)) for one in (engine, resumed)]
        assert metrics[0] == metrics[1]
    for name, value in weights(engine).items():
        assert torch.equal(weights(resumed)[name], value)


def test_rows_are_bucketed_by_length_within_the_budget() -> None:
    lengths = [9, 2, 5, 3, 9, 1]
    groups = split_by_length(lengths, max_tokens=10)
    assert sorted(row for group in groups for row in group) == list(range(6))
    assert [[lengths[row] for row in group] for group in groups] == [[1, 2, 3], [5], [9], [9]]
    assert split_by_length([50], max_tokens=10) == [[0]]


def test_a_directory_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no model \(config.json is missing\)"):
        load_policy(engine_config(tmp_path).policy)
    with pytest.raises(ValueError, match="holds no model"):
        load_policy(engine_config(tmp_path / "nowhere").policy)


def test_a_model_without_weights_or_with_damaged_ones_is_named(tmp_path: Path) -> None:
    path = write_tiny_policy(tmp_path / "model")
    (path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ValueError, match=r"policy\.model_name: can't load"):
        load_policy(engine_config(path).policy)
    (path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="holds no weights"):
        load_policy(engine_config(path).policy)


def test_every_id_that_ends_a_response_counts(tmp_path: Path) -> None:
    path = write_tiny_policy(tmp_path / "model")
    policy = engine_config(path).policy
    model = load_policy(policy)
    model.generation_config.eos_token_id = [1, 9]  # type: ignore[union-attr]
    assert load_codec(policy, model).eos_token_ids == (1, 9)
