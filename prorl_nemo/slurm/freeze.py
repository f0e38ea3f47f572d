"""Freezes a configuration for the jobs of a campaign.

``python -m prorl_nemo.slurm.freeze CONFIG OUT [OVERRIDE...]`` writes CONFIG with all its
``defaults`` merged to OUT, so that later edits of those files reach no job, and prints what
submit.sh has to know of it, a NUL behind each: run directory, engine, cluster.num_nodes and
cluster.gpus_per_node (empty where the configuration has no such key). The overrides are
not written into OUT: they stay arguments of every job.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from prorl_nemo.config_loading import ConfigError, read_yaml


@dataclass(frozen=True)
class FrozenFacts:
    """What the scripts need to know of a configuration; sizes are None when not in it."""

    run_dir: Path
    engine: str
    num_nodes: int | None
    gpus_per_node: int | None


def freeze_config(path: Path, overrides: Sequence[str], target: Path) -> FrozenFacts:
    """Write the merged file to ``target``; raises ConfigError naming the key."""
    OmegaConf.save(read_yaml(path), target)
    tree = read_yaml(path, overrides)
    return FrozenFacts(
        run_dir=Path(str(_select(tree, "checkpointing.checkpoint_dir"))).absolute(),
        engine=str(_select(tree, "prorl.engine")),
        num_nodes=_select(tree, "cluster.num_nodes", optional=True),
        gpus_per_node=_select(tree, "cluster.gpus_per_node", optional=True),
    )


def _select(tree: DictConfig, key: str, *, optional: bool = False) -> Any:
    try:
        value = OmegaConf.select(tree, key)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{key}: {str(error).splitlines()[0]}") from None
    if value is None and not optional:
        raise ConfigError(f"{key}: missing")
    return value


def main(arguments: Sequence[str]) -> int:
    """The command; returns the exit code."""
    config, target, *overrides = arguments
    try:
        facts = freeze_config(Path(config), overrides, Path(target))
    except (ValueError, OSError) as error:
        print(f"submit: {error}", file=sys.stderr)
        return 2
    for value in astuple(facts):
        print("" if value is None else value, end="\0")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
