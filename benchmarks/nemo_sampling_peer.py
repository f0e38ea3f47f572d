"""NeMo-RL v0.7.0's own `dynamic_sampling`, called as its `grpo_train` calls it.

Needs nemo_rl on PYTHONPATH (docs/performance.md); `importable` says whether it is.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from tests.support.nemo_rl import allow_old_python

MAX_GEN_BATCHES = 1000  # a run ends at it


@dataclass
class PeerOutcome:
    """Totals over the steps. A group is informative when its rewards are not all equal."""

    generated: int = 0  # groups
    informative: int = 0  # of those
    discarded: int = 0  # informative groups that no training batch got
    broken: int = 0  # informative groups that training got some samples of
    constant_samples: int = 0  # samples in training batches of groups that were not informative
    samples: int = 0  # in training batches


def importable() -> bool:
    return importlib.util.find_spec("nemo_rl") is not None


def run_nemo(
    make_rewards: Callable[[torch.Tensor, int], torch.Tensor],
    *,
    n: int,
    groups: int,
    steps: int,
    leave_one_out: bool,
    tolerance: float,
) -> PeerOutcome:
    """Fill ``steps`` steps of ``groups`` groups; ``leave_one_out`` as in its prorlv2.v2.yaml."""
    allow_old_python()
    from nemo_rl.utils.timer import Timer

    master_config = SimpleNamespace(
        grpo={
            "use_dynamic_sampling": True,
            "num_prompts_per_step": groups,
            "num_generations_per_prompt": n,
            "dynamic_sampling_max_gen_batches": MAX_GEN_BATCHES,
        }
    )
    timer, total = Timer(), PeerOutcome()
    for step in range(1, steps + 1):
        first, cache, is_complete, num_batches = total.generated, None, False, 0
        informative = torch.empty(0, dtype=torch.bool)
        while not is_complete:
            ids = torch.arange(total.generated, total.generated + groups)
            rewards = make_rewards(ids, step)
            has_spread = rewards.amax(1) - rewards.amin(1) > tolerance
            informative = torch.cat([informative, has_spread])
            total.generated, num_batches = total.generated + groups, num_batches + 1
            batch, is_complete, cache = _filter(
                ids, rewards, num_batches, master_config, timer, cache, leave_one_out
            )
        counts = torch.bincount(batch["group_id"] - first, minlength=len(informative))
        total.informative += int(informative.sum())
        total.discarded += int((informative & (counts == 0)).sum())
        total.broken += int((informative & (counts > 0) & (counts < n)).sum())
        total.constant_samples += int(counts[~informative].sum())
        total.samples += int(counts.sum())
    return total


def _filter(
    ids: torch.Tensor,  # [groups]
    rewards: torch.Tensor,  # [groups, n]
    num_batches: int,
    master_config: Any,
    timer: Any,
    cache: Any,
    leave_one_out: bool,
) -> tuple[Any, bool, Any]:
    from nemo_rl.algorithms.grpo import dynamic_sampling
    from nemo_rl.algorithms.utils import calculate_baseline_and_std_per_prompt
    from nemo_rl.distributed.batched_data_dict import BatchedDataDict

    rows = ids.repeat_interleave(rewards.shape[1])
    flat = rewards.flatten()
    baseline, std = calculate_baseline_and_std_per_prompt(
        rows[:, None], flat, torch.ones_like(flat), leave_one_out_baseline=leave_one_out
    )
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it found
        batch, is_complete, cache, _ = dynamic_sampling(
            BatchedDataDict({"group_id": rows, "total_reward": flat}),
            std,
            baseline,
            num_batches,
            master_config,
            timer,
            cache,
        )
    return batch, is_complete, cache
