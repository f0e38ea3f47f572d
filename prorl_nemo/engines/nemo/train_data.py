"""Our TrainBatch as the BatchedDataDict that NeMo-RL's policy takes, and its answer as metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from nemo_rl.distributed.batched_data_dict import BatchedDataDict
from torch import Tensor

from prorl_nemo.engines.nemo.loss_metrics import ratio_quantile
from prorl_nemo.types import TrainBatch, TrainMetrics

QUANTILES = (0.01, 0.5, 0.99)
HISTOGRAM = "prorl/log_ratio_histogram"


@dataclass(frozen=True)
class BatchLayout:
    """What NeMo-RL's workers demand of a batch's shape."""

    row_multiple: int  # policy.train_global_batch_size
    length_multiple: int  # policy.make_sequence_length_divisible_by
    pad_token_id: int


def make_logprob_data(batch: TrainBatch, layout: BatchLayout) -> Any:
    """The columns that a forward pass needs."""
    rollouts = batch.rollouts
    columns = {
        "input_ids": rollouts.input_ids,
        "input_lengths": rollouts.input_lengths,
        "token_mask": batch.token_mask.long(),
        "sample_mask": batch.sample_mask.float(),
    }
    return BatchedDataDict(_pad_all(columns, rollouts.input_lengths, layout))


def make_train_data(batch: TrainBatch, layout: BatchLayout) -> Any:
    """All columns of the loss.

    A step that found too few informative groups is filled up with rows that the loss does not
    see: counts are those of valid rows, so nothing changes but the shape.
    """
    assert batch.prev_logprobs is not None, "compute_logprobs has run"
    assert batch.reference_policy_logprobs is not None, "compute_logprobs has run"
    rollouts = batch.rollouts
    columns = {
        "generation_logprobs": rollouts.generation_logprobs,
        "prev_logprobs": batch.prev_logprobs,
        "reference_policy_logprobs": batch.reference_policy_logprobs,
        "advantages": batch.advantages,
    }
    data = make_logprob_data(batch, layout)
    data.update(_pad_all(columns, rollouts.input_lengths, layout))
    return data


def read_train_metrics(results: Mapping[str, Any]) -> TrainMetrics:
    """Means over the step's updates; NeMo-RL has divided its shares by their number."""
    shares = results["all_mb_metrics"]
    losses = torch.as_tensor(results["loss"]).double().flatten()
    policy_loss = float(sum(shares["prorl/policy_loss"]))
    loss = float(losses.mean())
    return TrainMetrics(
        loss=loss,
        policy_loss=policy_loss,
        kl_penalty=loss - policy_loss,
        clip_fraction_low=float(sum(shares["prorl/clip_fraction_low"])),
        clip_fraction_high=float(sum(shares["prorl/clip_fraction_high"])),
        ratio_mean=float(sum(shares["probs_ratio"])),
        importance_out_of_bound_rate=float(sum(shares["is_oob_ratio"])),
        grad_norm=float(torch.as_tensor(results["grad_norm"]).flatten()[-1]),
        learning_rate=float(shares["lr"][-1]),
        num_updates=len(losses),
    )


def summarize_microbatches(results: Mapping[str, Any]) -> dict[str, float]:
    """NeMo-RL's train metrics under its names, and the quantiles of the ratio under ours."""
    shares = dict(results["all_mb_metrics"])
    histogram = torch.tensor(shares.pop(HISTOGRAM)).sum(dim=0)
    metrics = {name: _reduce(name, values) for name, values in shares.items()}
    metrics["grad_norm"] = float(torch.as_tensor(results["grad_norm"]).flatten()[-1])
    for quantile in QUANTILES:
        metrics[f"prorl/ratio_q{quantile:g}"] = ratio_quantile(histogram, quantile)
    return metrics


def _reduce(name: str, values: list[float]) -> float:
    if name.endswith("_min"):
        return min(values)
    if name.endswith("_max"):
        return max(values)
    if name in ("lr", "wd", "global_valid_seqs", "global_valid_toks"):
        return sum(values) / len(values)
    return sum(values)


def _pad_all(
    columns: Mapping[str, Tensor], lengths: Tensor, layout: BatchLayout
) -> dict[str, Tensor]:
    """Rows and lengths rounded up; padding rows repeat row 0 with sample_mask 0."""
    rows = _round_up(len(lengths), layout.row_multiple)
    width = _round_up(int(lengths.max()), layout.length_multiple)
    return {
        name: _pad(name, column, rows, width, layout.pad_token_id)
        for name, column in columns.items()
    }


def _pad(name: str, column: Tensor, rows: int, width: int, pad_token_id: int) -> Tensor:
    value = pad_token_id if name == "input_ids" else 0
    if column.ndim == 2:
        missing = width - column.shape[1]
        column = torch.nn.functional.pad(column, (0, max(missing, 0)), value=value)[:, :width]
    filler = column[:1].expand(rows - len(column), *column.shape[1:])
    if name == "sample_mask":
        filler = torch.zeros_like(filler)
    return torch.cat([column, filler]).contiguous()


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
