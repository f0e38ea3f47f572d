"""ProRLLossFn against NeMo-RL's ClippedPGLossFn: value, gradient and metrics, in float64."""

from __future__ import annotations

import pickle
import random
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

pytest.importorskip("nemo_rl", reason="needs a NeMo-RL v0.7.0 source tree on PYTHONPATH")

from nemo_rl.algorithms.loss.loss_functions import ClippedPGLossConfig, ClippedPGLossFn
from nemo_rl.distributed.batched_data_dict import BatchedDataDict

from prorl_nemo.engines.nemo.loss_fn import make_loss_fn

pytestmark = pytest.mark.nemo

NUM_BATCHES = 240
SETTINGS: dict[str, list[Any]] = {
    "ratio_clip_min": [0.2, 0.1],
    "ratio_clip_max": [0.4, 0.27],
    "ratio_clip_c": [None, 3.0],
    "reference_policy_kl_penalty": [0.0, 1e-4, 0.1],
    "reference_policy_kl_type": ["k1", "k2", "k3"],
    "kl_input_clamp_value": [None, 20.0, 2.0],
    "kl_output_clamp_value": [None, 10.0, 0.5],
    "token_level_loss": [True, False],
    "use_on_policy_kl_approximation": [False, True],
    "use_importance_sampling_correction": [False, True],
    "truncated_importance_sampling_type": [None, "tis", "icepop", "seq-mask-tis"],
}
BOUNDS = {None: (None, None), "tis": (0.7, 1.3), "icepop": (0.7, 1.3), "seq-mask-tis": (0.96, 1.04)}


def draw_settings(choose: random.Random) -> dict[str, Any]:
    settings = {key: choose.choice(values) for key, values in SETTINGS.items()}
    kind = settings["truncated_importance_sampling_type"]
    if not settings["use_importance_sampling_correction"]:
        kind = settings["truncated_importance_sampling_type"] = None
    low, high = BOUNDS[kind]
    if kind == "tis" and choose.random() < 0.5:
        low = None
    settings["truncated_importance_sampling_ratio_min"] = low
    settings["truncated_importance_sampling_ratio"] = high
    return settings


def make_batch(seed: int, *, rows: int = 4, length: int = 41) -> tuple[Tensor, BatchedDataDict]:
    """Current log-probabilities [B, S - 1] with a gradient, and the batch."""
    generator = torch.Generator().manual_seed(seed)

    def normal(scale: float) -> Tensor:
        return scale * torch.randn(rows, length, dtype=torch.float64, generator=generator)

    prev = -3 * torch.rand(rows, length, dtype=torch.float64, generator=generator)
    token_mask = (torch.rand(rows, length, generator=generator) > 0.3).double()
    token_mask[:, 0] = 0
    sample_mask = (torch.rand(rows, generator=generator) > 0.2).double()
    sample_mask[0] = 1
    batch = {
        "input_ids": torch.zeros(rows, length, dtype=torch.int64),
        "advantages": normal(1.0),
        "prev_logprobs": prev,
        "generation_logprobs": prev + normal(0.3),
        "reference_policy_logprobs": prev + normal(1.0),
        "token_mask": token_mask,
        "sample_mask": sample_mask,
    }
    curr = (prev + normal(0.5))[:, 1:].requires_grad_()
    return curr, BatchedDataDict(batch)


def counts_of(batch: BatchedDataDict) -> tuple[Tensor, Tensor]:
    tokens = (batch["token_mask"][:, 1:] * batch["sample_mask"][:, None]).sum()
    return batch["sample_mask"].sum(), tokens


def evaluate(
    loss_fn: Any, curr: Tensor, batch: BatchedDataDict, counts: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Loss, gradient and metrics."""
    curr = curr.detach().clone().requires_grad_()
    loss, metrics = loss_fn(curr, batch, *counts)
    loss.backward()
    assert curr.grad is not None
    return loss.detach(), curr.grad, metrics


def is_defined_alike(name: str, settings: dict[str, Any]) -> bool:
    """Not: means over sequences here, tokens there; before truncation here, after it there."""
    if name in ("kl_penalty", "probs_ratio"):
        return bool(settings["token_level_loss"])
    if name == "sampling_importance_ratio":
        return settings["truncated_importance_sampling_type"] is None
    return True


def test_value_gradient_and_metrics_agree_on_every_shared_setting() -> None:
    seen: dict[str, set[Any]] = {key: set() for key in SETTINGS}
    shared = 0
    for seed in range(NUM_BATCHES):
        settings = draw_settings(random.Random(seed))
        for key, values in seen.items():
            values.add(settings[key])
        curr, batch = make_batch(seed)
        counts = counts_of(batch)
        their_counts = (counts[0] - 1e-8, counts[1] - 1e-8)  # they add it to every divisor
        their_loss_fn = ClippedPGLossFn(ClippedPGLossConfig(**settings))
        theirs = evaluate(their_loss_fn, curr, batch, their_counts)
        ours = evaluate(make_loss_fn(settings), curr, batch, counts)
        assert float(ours[0] - theirs[0]) == pytest.approx(0, abs=1e-9), settings
        assert float((ours[1] - theirs[1]).abs().max()) <= 1e-9, settings
        for name in ours[2].keys() & theirs[2].keys():
            if is_defined_alike(name, settings):
                expected = pytest.approx(theirs[2][name], abs=1e-6, rel=1e-7)
                assert float(ours[2][name]) == expected, name
                shared += 1
    assert seen == {key: set(values) for key, values in SETTINGS.items()}
    assert shared > 11 * NUM_BATCHES


@pytest.mark.parametrize("token_level_loss", [True, False])
def test_the_whole_difference_is_the_small_number_in_their_divisors(token_level_loss: bool) -> None:
    """Ours divides by N, theirs by N + 1e-8, twice over sequences; N is 1."""
    settings = {**draw_settings(random.Random(3)), "token_level_loss": token_level_loss}
    curr, batch = make_batch(5, rows=1, length=2)
    batch["token_mask"][:] = torch.tensor([0.0, 1.0])
    counts = counts_of(batch)
    ours, _, _ = evaluate(make_loss_fn(settings), curr, batch, counts)
    theirs, _, _ = evaluate(ClippedPGLossFn(ClippedPGLossConfig(**settings)), curr, batch, counts)
    divisors = 1 if token_level_loss else 2
    assert float(ours / theirs) - 1 == pytest.approx(divisors * 1e-8, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "garbage"),
    [
        ("prev_logprobs", float("nan")),
        ("reference_policy_logprobs", float("nan")),
        ("reference_policy_logprobs", float("inf")),
        ("advantages", float("nan")),
        ("advantages", float("inf")),
    ],
)
def test_garbage_under_the_mask_is_ignored_here_and_poisons_there(
    name: str, garbage: float
) -> None:
    settings = {
        key: values[-1] if key != "truncated_importance_sampling_type" else None
        for key, values in SETTINGS.items()
    }
    settings["kl_output_clamp_value"] = settings["kl_input_clamp_value"] = None
    curr, batch = make_batch(11)
    counts = counts_of(batch)
    clean = evaluate(make_loss_fn(settings), curr, batch, counts)
    hidden = (batch["token_mask"] * batch["sample_mask"][:, None]) == 0
    batch[name] = torch.where(hidden, garbage, batch[name])
    dirty = evaluate(make_loss_fn(settings), curr, batch, counts)
    assert torch.equal(dirty[0], clean[0])
    assert torch.equal(dirty[1], clean[1])
    theirs = evaluate(ClippedPGLossFn(ClippedPGLossConfig(**settings)), curr, batch, counts)
    assert not torch.isfinite(theirs[0])


def test_microbatches_add_up_to_the_batch() -> None:
    settings = {**draw_settings(random.Random(8)), "token_level_loss": True}
    curr, batch = make_batch(2, rows=6)
    counts = counts_of(batch)
    whole = evaluate(make_loss_fn(settings), curr, batch, counts)
    parts = [
        evaluate(make_loss_fn(settings), curr[rows], batch.slice(rows.start, rows.stop), counts)
        for rows in (slice(0, 2), slice(2, 3), slice(3, 6))
    ]
    assert float(sum(part[0] for part in parts)) == pytest.approx(float(whole[0]), abs=1e-12)
    assert torch.allclose(torch.cat([part[1] for part in parts]), whole[1], atol=1e-14)
    for name in set(whole[2]) - {"probs_ratio_min", "probs_ratio_max"}:
        total = torch.stack([part[2][name].double() for part in parts]).sum(dim=0)
        assert torch.allclose(total, whole[2][name].double(), atol=1e-6), name


def test_an_update_without_a_valid_token_has_loss_zero() -> None:
    curr, batch = make_batch(0)
    batch["sample_mask"][:] = 0
    loss_fn = make_loss_fn(draw_settings(random.Random(0)))
    loss, gradient, _ = evaluate(loss_fn, curr, batch, counts_of(batch))
    assert float(loss) == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_loss_and_metrics_never_read_the_device() -> None:
    """Tensors of the meta device have no values: whatever waits for one raises."""
    for seed in range(40):
        settings = draw_settings(random.Random(seed))
        curr, batch = make_batch(seed)
        counts = tuple(count.to("meta") for count in counts_of(batch))
        curr = curr.detach().to("meta").requires_grad_()
        batch = BatchedDataDict({name: column.to("meta") for name, column in batch.items()})
        loss, metrics = make_loss_fn(settings)(curr, batch, *counts)
        loss.backward()
        assert curr.grad is not None
        assert all(metric.is_meta for metric in metrics.values()), settings
        with pytest.raises(RuntimeError, match="meta"):
            ClippedPGLossFn(ClippedPGLossConfig(**settings))(curr, batch, *counts)


def test_metrics_become_numbers_when_they_are_pickled() -> None:
    curr, batch = make_batch(1)
    loss_fn = make_loss_fn(draw_settings(random.Random(5)))
    _, metrics = loss_fn(curr, batch, *counts_of(batch))
    numbers = pickle.loads(pickle.dumps(metrics))
    assert isinstance(numbers["loss"], float)
    assert isinstance(numbers["prorl/log_ratio_histogram"], list)
    assert sum(numbers["prorl/log_ratio_histogram"]) == pytest.approx(1.0, abs=1e-6)


class ForbidReads(TorchDispatchMode):
    """Refuses whatever makes the host wait for the device, at torch's dispatcher."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero")

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        assert not any(name in str(func) for name in self.FORBIDDEN), f"{func} reads the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("seed", range(12))
def test_no_operation_of_the_loss_or_its_gradient_reads_the_device(seed: int) -> None:
    settings = draw_settings(random.Random(seed))
    curr, batch = make_batch(seed)
    counts = counts_of(batch)
    with ForbidReads():
        evaluate(make_loss_fn(settings), curr, batch, counts)
    with pytest.raises(AssertionError, match="reads the device"), ForbidReads():
        evaluate(ClippedPGLossFn(ClippedPGLossConfig(**settings)), curr, batch, counts)


@pytest.mark.parametrize(
    ("key", "value"),
    [("use_cispo", True), ("force_on_policy_ratio", True), ("positive_example_nll_weight", 0.1)],
)
def test_settings_that_prorl_has_not_got_are_refused_by_name(key: str, value: Any) -> None:
    settings = ClippedPGLossConfig(**{**draw_settings(random.Random(1)), key: value})
    with pytest.raises(ValueError, match=rf"loss_fn\.{key}"):
        make_loss_fn(settings)


def test_a_misspelt_setting_is_refused_here_and_accepted_there() -> None:
    settings = {**draw_settings(random.Random(1)), "ratio_clip_mx": 0.4}
    ClippedPGLossConfig(**settings)
    with pytest.raises(ValueError, match="ratio_clip_mx"):
        make_loss_fn(settings)


def test_whole_groups_are_kept_here_and_lose_their_only_success_there() -> None:
    """NeMo-RL's dynamic sampling masks single samples by std != 0 (leave-one-out baseline)."""
    from nemo_rl.algorithms.utils import calculate_baseline_and_std_per_prompt

    from prorl_nemo.algorithms.filtering import select_informative_groups

    rewards = torch.tensor([1.0] + [0.0] * 7)
    prompts = torch.zeros(8, 3, dtype=torch.int64)
    _, std = calculate_baseline_and_std_per_prompt(
        prompts, rewards, torch.ones_like(rewards), leave_one_out_baseline=True
    )
    theirs = std != 0
    ours = select_informative_groups(
        rewards, group_ids=torch.zeros(8, dtype=torch.int64), tolerance=1e-6
    )
    assert theirs.tolist() == [False] + [True] * 7  # the success itself is thrown away
    assert ours.all()
