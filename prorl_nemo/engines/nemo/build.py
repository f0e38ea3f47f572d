"""Build the NeMo-RL engine for a run: Ray, NeMo-RL's own ``setup``, our workers and environment.

The only place that knows what ``setup`` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import ray
from nemo_rl.algorithms.grpo import MasterConfig, setup
from nemo_rl.algorithms.utils import get_tokenizer
from nemo_rl.distributed.ray_actor_environment_registry import (
    ACTOR_ENVIRONMENT_REGISTRY,
    get_actor_python_env,
)
from nemo_rl.distributed.virtual_cluster import init_ray
from nemo_rl.models.generation import configure_generation_config
from nemo_rl.models.policy.lm_policy import Policy
from nemo_rl.utils.venvs import create_local_venv_on_each_node

from prorl_nemo.campaign_tasks import CampaignTasks
from prorl_nemo.config_campaign import Config
from prorl_nemo.engine import Engine
from prorl_nemo.engines.nemo.config import NemoCampaignConfig
from prorl_nemo.engines.nemo.engine import NemoEngine
from prorl_nemo.engines.nemo.environment import ResponseId, start_environment
from prorl_nemo.engines.nemo.master_config import build_master_config
from prorl_nemo.engines.nemo.parts import NemoParts, WorkerStart
from prorl_nemo.engines.nemo.reference import ReferenceWorkers
from prorl_nemo.engines.nemo.release import find_release_root, require_nemo_rl
from prorl_nemo.engines.nemo.rollouts import PromptEncoder, make_datum
from prorl_nemo.tasks.base import Task

WORKERS = "nemo_rl.models.policy.workers"
# Our worker, and the worker of NeMo-RL whose Python environment it runs in.
MEGATRON = (
    "prorl_nemo.engines.nemo.megatron_worker.ProrlMegatronPolicyWorker",
    f"{WORKERS}.megatron_policy_worker.MegatronPolicyWorker",
)
DTENSOR = (
    "prorl_nemo.engines.nemo.dtensor_worker.ProrlDTensorPolicyWorker",
    f"{WORKERS}.dtensor_policy_worker_v2.DTensorPolicyWorkerV2",
)


class SetupResult(NamedTuple):
    """What ``nemo_rl.algorithms.grpo.setup`` returns in v0.7.0, in its order."""

    policy: Any
    policy_generation: Any
    nemo_gym: Any
    clusters: Any
    dataloader: Any
    val_dataloader: Any
    loss_fn: Any
    logger: Any
    checkpointer: Any
    grpo_save_state: Any
    master_config: Any
    teacher_worker_groups: Any
    alias_to_group_alias: Any


@dataclass(frozen=True)
class TaskDataset:
    """A task's problems as NeMo-RL's data set; ``setup`` and ``grpo_train`` ask for one."""

    task: Task
    encoder: PromptEncoder

    def __len__(self) -> int:
        return len(self.task)

    def __getitem__(self, index: int) -> dict[str, Any]:
        problem = self.task[index]
        return make_datum(problem, self.encoder.encode(problem), ResponseId(index, 0))


@dataclass(frozen=True)
class NemoEngineBuilder:
    """A ``campaign.BuildEngine``: new workers for each run of the schedule."""

    root: Path

    @contextmanager
    def __call__(self, config: Config, tasks: CampaignTasks) -> Iterator[Engine]:
        require_nemo_rl()
        assert isinstance(config, NemoCampaignConfig), "prorl.engine is nemo"
        if not ray.is_initialized():
            init_ray()
        environment = start_task_environment(config)
        engine = NemoEngine(config, StartWorkers(config, self.root, tasks, environment))
        try:
            yield engine
        finally:
            engine.close()
            ray.get(environment.shutdown.remote())
            ray.kill(environment)


def start_task_environment(config: NemoCampaignConfig) -> Any:
    """The environment of all tasks of a campaign."""
    prorl = config.prorl
    return start_environment(
        [*prorl.validation.tasks, *prorl.train_tasks],
        num_workers=prorl.rewards.num_workers,
        timeout_seconds=prorl.rewards.timeout_seconds,
    )


@dataclass(frozen=True)
class StartWorkers:
    """``parts.StartParts``: NeMo-RL's set-up with the weights that ``WorkerStart`` names."""

    config: NemoCampaignConfig
    root: Path
    tasks: CampaignTasks
    environment: Any

    def __call__(self, start: WorkerStart) -> NemoParts:
        config = self.config
        master = build_master_config(
            config, release_root=find_release_root(), run_directory=self.root
        )
        tokenizer = get_tokenizer(master.policy["tokenizer"])
        master.policy["generation"] = configure_generation_config(
            master.policy["generation"], tokenizer
        )
        result = self._setup(master, tokenizer, start)
        if not config.policy.megatron_cfg.enabled and start.weights is not None:
            # Started with these weights, a DTensor worker would take them for its reference.
            optimizer = str(start.optimizer.absolute()) if start.optimizer is not None else None
            result.policy.run_all_workers_single_data(
                "load_checkpoint",
                weights_path=str(start.weights.absolute()),
                optimizer_path=optimizer,
            )
        if start.reference is not None and config.prorl.nemo.reset_by == "in_place":
            workers = ReferenceWorkers(result.policy)
            workers.load_reference(start.reference, expect_policy=False)
        return NemoParts(
            policy=result.policy,
            policy_generation=result.policy_generation,
            environment=self.environment,
            tokenizer=tokenizer,
            logger=result.logger,
        )

    def _setup(self, master: MasterConfig, tokenizer: Any, start: WorkerStart) -> SetupResult:
        policy = self.config.policy
        longest = policy.max_total_sequence_length - policy.generation.max_new_tokens
        dataset = TaskDataset(self.tasks.train[0].task, PromptEncoder(tokenizer, longest))
        if start.reference is not None and self.config.prorl.nemo.reset_by == "restart":
            master.checkpointing["pretrained_checkpoint"] = {
                "path": str(start.reference.absolute()),
                "format": "megatron_bridge",
            }
        if not policy.megatron_cfg.enabled:
            start = replace(start, weights=None, optimizer=None)
        factory = make_policy_factory(self.config, start)
        return SetupResult(*setup(master, tokenizer, dataset, None, policy_factory=factory))


def make_policy_factory(config: NemoCampaignConfig, start: WorkerStart) -> Callable[..., Any]:
    """Makes NeMo-RL's Policy with our workers and with the weights that ``start`` names."""
    ours, theirs = MEGATRON if config.policy.megatron_cfg.enabled else DTENSOR
    ACTOR_ENVIRONMENT_REGISTRY[ours] = find_worker_python(theirs)
    extension = ours if config.prorl.nemo.reset_by == "in_place" else None

    def make_policy(**arguments: Any) -> Any:
        arguments["weights_path"] = start.weights
        arguments["optimizer_path"] = start.optimizer
        arguments["init_reference_model"] = True  # the KL is watched even without a penalty
        return Policy(**arguments, worker_extension_cls_fqn=extension)

    return make_policy


def find_worker_python(worker: str) -> str:
    """The Python that NeMo-RL's own ``worker`` runs in, on every node.

    The container has it ready under the worker's name. Under our worker's name NeMo-RL would
    build another, which takes long and needs a network.
    """
    command: str = get_actor_python_env(worker)
    if not command.startswith("uv"):
        return command
    python: str = create_local_venv_on_each_node(command, worker)
    return python
