"""Build the local engine for a run: the base model, the reward pool, the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from prorl_nemo.campaign_tasks import CampaignTasks, make_reward_pool, make_warm_start_tasks
from prorl_nemo.config_campaign import Config
from prorl_nemo.data.prompt_stream import PromptStream
from prorl_nemo.engine import Engine
from prorl_nemo.engines.local.engine import LocalEngine
from prorl_nemo.engines.local.tiny_model import Progress, make_tiny_model

TINY = "tiny"


def base_model_path(config: Config, root: Path) -> str:
    """Where the campaign's base model is, or will be."""
    name = config.policy.model_name
    return str(root / "base") if name == TINY else name


def prepare_base_model(
    config: Config, root: Path, tasks: CampaignTasks, *, progress: Progress
) -> None:
    """Make the tiny model unless it is there; nothing to do for any other model."""
    torch.set_num_threads(config.policy.num_cpu_threads)
    if config.policy.model_name != TINY:
        return
    warm_start = make_warm_start_tasks(config)
    make_tiny_model(
        root / "base",
        config.prorl.tiny_model,
        phrase_tasks=[*(entry.task for entry in warm_start), *tasks.scorers.values()],
        examples=PromptStream(
            warm_start, seed=config.grpo.seed, held_out_prompts=tasks.held_out_prompts
        ),
        max_length=config.policy.max_total_sequence_length,
        seed=config.grpo.seed,
        progress=progress,
    )


@dataclass(frozen=True)
class LocalEngineBuilder:
    """A ``campaign.BuildEngine``: one engine and one reward pool per run."""

    root: Path
    progress: Progress

    @contextmanager
    def __call__(self, config: Config, tasks: CampaignTasks) -> Iterator[Engine]:
        prepare_base_model(config, self.root, tasks, progress=self.progress)
        where = base_model_path(config, self.root)
        policy = config.policy.model_copy(
            update={
                "model_name": where,
                "tokenizer": config.policy.tokenizer.model_copy(
                    update={"name": _tokenizer_name(config, where)}
                ),
            }
        )
        with make_reward_pool(config, list(tasks.scorers.values())) as pool:
            yield LocalEngine(config.model_copy(update={"policy": policy}), pool)


def _tokenizer_name(config: Config, model: str) -> str:
    name = config.policy.tokenizer.name
    return model if name == config.policy.model_name else name
