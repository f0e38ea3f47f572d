"""ProRL's loss and tasks inside NeMo-RL's own ``grpo_train``: the plugs without our loop.

    python examples/prorl_loss_in_nemo_grpo.py --config RELEASE/examples/configs/grpo_math_1B.yaml

No reference resets and no group-wise dynamic sampling this way: those are the loop's.
"""

from __future__ import annotations

import argparse

from nemo_rl.algorithms.grpo import MasterConfig, grpo_train, setup
from nemo_rl.algorithms.utils import get_tokenizer
from nemo_rl.distributed.virtual_cluster import init_ray
from nemo_rl.models.generation import configure_generation_config
from nemo_rl.utils.config import load_config, parse_hydra_overrides, register_omegaconf_resolvers
from omegaconf import OmegaConf

from prorl_nemo.config import TaskConfig
from prorl_nemo.engines.nemo.build import SetupResult, TaskDataset
from prorl_nemo.engines.nemo.environment import ENVIRONMENT, start_environment
from prorl_nemo.engines.nemo.loss_fn import make_loss_fn
from prorl_nemo.engines.nemo.release import require_nemo_rl
from prorl_nemo.engines.nemo.rollouts import PromptEncoder
from prorl_nemo.tasks.registry import make_task

TASK = TaskConfig(
    name="graph_color",
    task="reasoning_gym/graph_color",
    weight=1.0,
    num_problems=10_000,
    seed=1,
    params={"config": {"min_num_vertices": 10, "max_num_vertices": 10}},
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True)
    arguments, overrides = parser.parse_known_args()
    require_nemo_rl()
    register_omegaconf_resolvers()
    tree = parse_hydra_overrides(load_config(arguments.config), overrides)
    master = MasterConfig(**OmegaConf.to_container(tree, resolve=True))
    master.grpo.update(val_period=0, val_at_start=False, val_at_end=False)

    init_ray()
    tokenizer = get_tokenizer(master.policy["tokenizer"])
    master.policy["generation"] = configure_generation_config(
        master.policy["generation"], tokenizer
    )
    dataset = TaskDataset(make_task(TASK), PromptEncoder(tokenizer, max_prompt_tokens=1024))
    parts = SetupResult(*setup(master, tokenizer, dataset, None))
    environment = start_environment([TASK], num_workers=8, timeout_seconds=30.0)
    grpo_train(
        parts.policy,
        parts.policy_generation,
        parts.dataloader,
        None,
        tokenizer,
        make_loss_fn(parts.master_config.loss_fn),
        {ENVIRONMENT: environment},
        None,
        parts.logger,
        parts.checkpointer,
        parts.grpo_save_state,
        parts.master_config,
    )


if __name__ == "__main__":
    main()
