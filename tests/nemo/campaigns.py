"""Small campaigns over the stand-ins: configuration, engine, loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import ray
from nemo_rl.utils.logger import Logger
from omegaconf import OmegaConf

from prorl_nemo.checkpointing import CheckpointStore
from prorl_nemo.config_loading import read_yaml
from prorl_nemo.data.prompt_stream import PromptStream, WeightedTask
from prorl_nemo.engines.nemo.config import NemoCampaignConfig
from prorl_nemo.engines.nemo.engine import NemoEngine
from prorl_nemo.engines.nemo.environment import TaskEnvironment
from prorl_nemo.engines.nemo.parts import NemoParts, WorkerStart
from prorl_nemo.run_requests import RunRequests
from prorl_nemo.run_schedule import schedule_runs
from prorl_nemo.step_record import StepRecord
from prorl_nemo.train import Outcome, RunContext, prorl_train
from prorl_nemo.train_state import TrainState
from tests.nemo.letters import LetterTask, LetterTokenizer
from tests.nemo.standins import CpuGeneration, CpuPolicy

CONF = Path(__file__).resolve().parents[2] / "conf" / "prorl_1.5b.yaml"
SMALL = {
    "cluster": {"num_nodes": 1, "gpus_per_node": 1},
    "grpo": {"num_prompts_per_step": 4, "num_generations_per_prompt": 4, "val_period": 0},
    "loss_fn": {
        "reference_policy_kl_penalty": 0.01,
        "use_importance_sampling_correction": False,
        "truncated_importance_sampling_type": None,
        "truncated_importance_sampling_ratio": None,
    },
    "policy": {
        "model_name": "letters",
        "train_global_batch_size": 8,
        "max_total_sequence_length": 10,
        "make_sequence_length_divisible_by": 4,
        "sequence_packing": {"enabled": False},
        "generation": {
            "max_new_tokens": 6,
            "temperature": 1.0,
            "vllm_cfg": {"async_engine": False, "max_model_len": 10},
        },
    },
    "checkpointing": {"save_period": 2},
    "prorl": {
        "reset": {
            "period_steps": 2,
            "patience": None,
            "degradation": None,
            "min_gap_steps": 1,
            "max_kl_after_reset": 1e-12,
        },
        "schedule": [{"name": "run1", "num_steps": 5, "reset_at_start": False, "overrides": {}}],
    },
}


@cache
def _shipped() -> Any:
    tree = read_yaml(CONF)
    tree.prorl.train_tasks = tree.prorl.train_tasks[:5]
    return tree


def small_config(**sections: Any) -> NemoCampaignConfig:
    tree = OmegaConf.merge(_shipped(), SMALL, sections)
    return NemoCampaignConfig.model_validate(OmegaConf.to_container(tree, resolve=True))


def start_letters() -> Any:
    """The environment actor of the letter task."""
    actor = ray.remote(TaskEnvironment)
    return actor.remote([LetterTask()], num_workers=1, timeout_seconds=30.0)


def make_prompts(state: TrainState | None = None) -> PromptStream:
    position = state.prompt_position if state is not None else None
    return PromptStream([WeightedTask(LetterTask(), 1.0)], seed=3, position=position)


@dataclass
class Records:
    """Keeps what a metrics writer is handed, and does something behind a step."""

    rows: list[StepRecord] = field(default_factory=list)
    behind_step: Callable[[int], None] = lambda step: None

    def write(self, record: StepRecord) -> None:
        self.rows.append(record)
        self.behind_step(record.step)

    def close(self) -> None: ...


class Campaign:
    """A run directory, the real Logger, rollouts and environment, CPU stand-ins below them."""

    def __init__(self, root: Path, config: NemoCampaignConfig, environment: Any) -> None:
        self.root, self.config, self.environment = root, config, environment
        self.store = CheckpointStore(root, config.checkpointing.keep_top_k)
        self.policies: list[CpuPolicy] = []
        self.starts: list[WorkerStart] = []

    @property
    def policy(self) -> CpuPolicy:
        return self.policies[-1]

    def run(self, writers: Sequence[Any]) -> Outcome:
        """From the newest checkpoint to the end of the run, or to a request to stop."""
        engine = NemoEngine(self.config, self.start_parts)
        found = self.store.newest()
        state = found[1] if found is not None else TrainState()
        if found is not None:
            self.store.restore(engine, *found)
        context = RunContext(
            config=self.config,
            run=schedule_runs(self.config.prorl.schedule)[0],
            prompts=make_prompts(state),
            validation_problems=[LetterTask()[i] for i in (201, 202)],
            store=self.store,
            requests=RunRequests(self.root),
            writers=writers,
        )
        outcome = prorl_train(engine, context, state)
        engine.close()
        return outcome

    def start_parts(self, start: WorkerStart) -> NemoParts:
        policy = CpuPolicy(global_batch=self.config.policy.train_global_batch_size)
        if start.weights is not None:
            policy.start_from(start.weights, start.optimizer)
        if start.reference is not None:
            policy.load_reference(str(start.reference))
        self.policies.append(policy)
        self.starts.append(start)
        generation = self.config.policy.generation
        return NemoParts(
            policy=policy,
            policy_generation=CpuGeneration(
                policy,
                max_new_tokens=generation.max_new_tokens,
                is_async=generation.vllm_cfg.async_engine,
            ),
            environment=self.environment,
            tokenizer=LetterTokenizer(),
            logger=make_logger(self.root / "nemo_logs"),
        )


def make_logger(directory: Path) -> Logger:
    """NeMo-RL's own logger, writing TensorBoard files."""
    return Logger(
        {
            "log_dir": str(directory),
            "wandb_enabled": False,
            "swanlab_enabled": False,
            "mlflow_enabled": False,
            "tensorboard_enabled": True,
            "tensorboard": {},
            "monitor_gpus": False,
            "num_val_samples_to_print": 0,
        }
    )
