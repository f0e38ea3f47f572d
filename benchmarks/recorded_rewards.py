"""Rewards of the miniature campaign, recorded and replayed.

    python -m benchmarks.recorded_rewards RUN      # write recorded_rewards.jsonl anew

Records run 1 of `conf/local.yaml` with 32 responses a prompt: every third step, the first
GROUPS groups that it generated, which are a fair sample of the mixture. One line a step.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from prorl_nemo.campaign import run_campaign
from prorl_nemo.campaign_tasks import CampaignTasks
from prorl_nemo.config_campaign import Config
from prorl_nemo.config_loading import load_config
from prorl_nemo.engine import Engine
from prorl_nemo.engines.local.build import LocalEngineBuilder
from prorl_nemo.run_directory import owned_run_directory
from prorl_nemo.run_requests import RunRequests
from prorl_nemo.types import PromptGroup, RolloutBatch

RECORD = Path(__file__).with_suffix(".jsonl")
CONF = Path(__file__).parents[1] / "conf" / "local.yaml"
SAMPLES, GROUPS, STEPS, EVERY = 32, 32, 60, 3


class RecordedRewards:
    """A supply of groups whose rewards are those of recorded groups, drawn with repetition."""

    def __init__(self, path: Path = RECORD) -> None:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        self._steps = [torch.tensor(row["rewards"]) for row in rows]

    @property
    def num_steps(self) -> int:
        return len(self._steps)

    def rewards_of(
        self,
        group_ids: torch.Tensor,  # [groups]
        *,
        n: int,
        step: int,  # from 1
    ) -> torch.Tensor:
        """[groups, n]; the same group id and step always give the same rewards."""
        recorded = self._steps[step - 1]
        rows = []
        for group_id in group_ids.tolist():
            generator = torch.Generator().manual_seed(group_id)
            group = recorded[int(torch.randint(len(recorded), (), generator=generator))]
            rows.append(group[torch.randperm(SAMPLES, generator=generator)[:n]])
        return torch.stack(rows)


class RecordingEngine:
    """The local engine, with the rewards of its first rollout of a step written down."""

    def __init__(self, engine: Engine, rewards: dict[int, Sequence[Sequence[float]]]) -> None:
        self._engine, self._rewards = engine, rewards

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def rollout(self, prompts: Sequence[PromptGroup], *, step: int) -> RolloutBatch:
        batch = self._engine.rollout(prompts, step=step)
        if step % EVERY == 0 and step not in self._rewards:
            rewards = batch.rewards.reshape(-1, SAMPLES)[:GROUPS]
            self._rewards[step] = [[shorten(r) for r in row] for row in rewards.tolist()]
        return batch


def shorten(reward: float) -> float:
    """Three decimals; 0 and 1 as integers."""
    return int(reward) if reward in (0.0, 1.0) else round(reward, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run directory of the recorded campaign")
    root = parser.parse_args().run
    config = load_config(
        CONF,
        [
            f"grpo.num_generations_per_prompt={SAMPLES}",
            f"checkpointing.checkpoint_dir={root}",
            f"prorl.schedule.0.num_steps={STEPS}",
            "~prorl.schedule.1",
            "grpo.val_at_start=false",
            f"grpo.val_period={STEPS}",
            "policy.train_global_batch_size=512",
        ],
    )
    rewards: dict[int, Sequence[Sequence[float]]] = {}
    build = LocalEngineBuilder(root, lambda step, loss: None)

    @contextlib.contextmanager
    def build_recording(config: Config, tasks: CampaignTasks) -> Iterator[Engine]:
        with build(config, tasks) as engine:
            yield RecordingEngine(engine, rewards)

    with owned_run_directory(root, config):
        run_campaign(config, root, build_engine=build_recording, requests=RunRequests(root))
    lines = [
        json.dumps({"step": step, "rewards": rows}, separators=(",", ":"))
        for step, rows in sorted(rewards.items())
    ]
    RECORD.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
