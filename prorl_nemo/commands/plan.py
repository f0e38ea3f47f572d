"""`prorl plan`: check a configuration and show the campaign it describes. Needs no torch."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from prorl_nemo.commands.config_arguments import add_config_arguments, find_config
from prorl_nemo.commands.hash_seed import fix_hash_seed

if TYPE_CHECKING:
    from prorl_nemo.config import TaskConfig
    from prorl_nemo.config_campaign import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    fix_hash_seed()
    from prorl_nemo.config_loading import config_of_run, load_config
    from prorl_nemo.run_schedule import schedule_runs

    config = load_config(find_config(arguments.config), arguments.overrides)
    configs = [config_of_run(config, index) for index in range(len(config.prorl.schedule))]
    print(f"engine {config.prorl.engine}, model {config.policy.model_name}")
    print(f"run directory {config.checkpointing.checkpoint_dir}")
    for run, current in zip(schedule_runs(config.prorl.schedule), configs, strict=True):
        grpo, generation = current.grpo, current.policy.generation
        tasks = ", ".join(f"{entry.name} x{entry.weight:g}" for entry in current.prorl.train_tasks)
        print(
            f"{run.name}: steps {run.start_step + 1}-{run.end_step}, "
            f"{grpo.num_prompts_per_step} prompts x {grpo.num_generations_per_prompt} responses "
            f"of up to {generation.max_new_tokens} tokens, "
            f"{'reset at its start, ' if run.reset_at_start else ''}{tasks}"
        )
        if config.prorl.engine == "nemo":
            _print_layout(current, num_steps=run.end_step - run.start_step)
    if config.prorl.engine == "nemo":
        _print_total(configs)
    _check_tasks(
        [entry for current in configs for entry in current.prorl.train_tasks]
        + [*config.prorl.validation.tasks, *config.prorl.evaluation.tasks]
    )
    print("the configuration is sound")
    return 0


def _check_tasks(entries: Iterable[TaskConfig]) -> None:
    """Make every task once, those that are quick first; ValueError names the faulty one."""
    from prorl_nemo.tasks.logic_partial_import import only_data_sets
    from prorl_nemo.tasks.registry import LOGIC_PREFIX, make_tasks

    different: list[TaskConfig] = []
    for entry in entries:
        if entry not in different:
            different.append(entry)
    logic = [entry for entry in different if entry.task.startswith(LOGIC_PREFIX)]
    make_tasks([entry for entry in different if entry not in logic])
    with only_data_sets({entry.task.removeprefix(LOGIC_PREFIX) for entry in logic}):
        make_tasks(logic)


def _print_layout(config: Config, *, num_steps: int) -> None:
    """Batches, parallel layout, memory and time of a run on NeMo-RL."""
    from prorl_nemo.engines.nemo.config import NemoCampaignConfig
    from prorl_nemo.engines.nemo.plan import plan_run

    assert isinstance(config, NemoCampaignConfig), "the loader chooses it by prorl.engine"
    for line in plan_run(config, num_steps=num_steps):
        print(f"    {line}")


def _print_total(configs: Sequence[Config]) -> None:
    """GPU hours of all runs."""
    from prorl_nemo.engines.nemo.config import NemoCampaignConfig
    from prorl_nemo.engines.nemo.plan import campaign_gpu_hours

    runs: list[tuple[NemoCampaignConfig, int]] = []
    for index, current in enumerate(configs):
        assert isinstance(current, NemoCampaignConfig), "the loader chooses it by prorl.engine"
        runs.append((current, current.prorl.schedule[index].num_steps))
    hours = campaign_gpu_hours(runs)
    steps = sum(num_steps for _, num_steps in runs)
    print(
        f"campaign of {steps:,} steps: {'unknown' if hours is None else f'{hours:,.0f}'} GPU hours"
    )
