"""A campaign from its first step to its last: the runs of the schedule, one after the other.

Every run starts the same way, be it the first one, the next one of the schedule or one that
a requeued job takes up again: newest whole checkpoint, the run's own configuration, a fresh
engine, prorl_train().
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from prorl_nemo.campaign_tasks import CampaignTasks, make_campaign_tasks
from prorl_nemo.checkpointing import CheckpointStore
from prorl_nemo.config_campaign import Config
from prorl_nemo.config_loading import config_of_run
from prorl_nemo.data.prompt_stream import PromptStream
from prorl_nemo.engine import Engine
from prorl_nemo.metrics import JsonlWriter, MetricsWriter, TensorBoardWriter, WandbWriter
from prorl_nemo.run_context import RunContext
from prorl_nemo.run_requests import RunRequests
from prorl_nemo.run_schedule import current_run, schedule_runs
from prorl_nemo.train import prorl_train
from prorl_nemo.train_state import TrainState

BuildEngine = Callable[[Config, CampaignTasks], AbstractContextManager[Engine]]


def run_campaign(
    config: Config,
    root: Path,
    *,
    build_engine: BuildEngine,
    requests: RunRequests,
    observers: Sequence[MetricsWriter] = (),
) -> Literal["finished", "stopped"]:
    """Train to the end of the schedule or until asked to stop, from wherever ``root`` is.

    ``root`` must be owned by this process (run_directory). Raises what prorl_train raises, and
    ValueError when checkpoints exist but none is whole.
    """
    runs = schedule_runs(config.prorl.schedule)
    store = CheckpointStore(root, config.checkpointing.keep_top_k, kept_steps(config))
    while True:
        found = store.newest()
        state = found[1] if found is not None else TrainState()
        run = current_run(runs, completed_steps=state.step)
        if run is None:
            return "finished"
        run_config = config_of_run(config, run.index)
        tasks = make_campaign_tasks(run_config)
        with build_engine(run_config, tasks) as engine, _Writers(config, root, state) as writers:
            if found is not None:
                store.restore(engine, *found)
            context = RunContext(
                config=run_config,
                run=run,
                prompts=PromptStream(
                    tasks.train,
                    seed=config.grpo.seed,
                    held_out_prompts=tasks.held_out_prompts,
                    position=state.prompt_position,
                ),
                validation_problems=tasks.validation_problems,
                store=store,
                requests=requests,
                writers=[*writers.writers, *observers],
            )
            outcome = prorl_train(engine, context, state)
        # Asked at the last step of a run: the next one is the next job's.
        if outcome == "stopped" or requests.stop_reason() is not None:
            requests.drop_stop()
            return "stopped"


def kept_steps(config: Config) -> frozenset[int]:
    """Steps whose checkpoints stay: the ends of runs and the evaluation's intermediate model."""
    ends = {run.end_step for run in schedule_runs(config.prorl.schedule)}
    return frozenset(ends | {config.prorl.evaluation.intermediate_step} - {0})


class _Writers:
    """The configured metric writers, opened for a run and closed behind it."""

    def __init__(self, config: Config, root: Path, state: TrainState) -> None:
        # Before the first run has begun not even step 0 counts as written.
        completed = state.step if state.run_index >= 0 else -1
        self.writers: list[MetricsWriter] = [JsonlWriter(root, completed_steps=completed)]
        if config.logger.tensorboard_enabled:
            self.writers.append(TensorBoardWriter(root, completed_steps=completed))
        if config.logger.wandb_enabled:
            wandb = config.logger.wandb
            self.writers.append(WandbWriter(root, project=wandb.project, name=wandb.name))

    def __enter__(self) -> _Writers:
        return self

    def __exit__(self, *exception: object) -> None:
        for writer in self.writers:
            writer.close()
