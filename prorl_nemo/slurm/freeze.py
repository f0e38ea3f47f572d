"""Freezes a configuration for the jobs of a campaign.

``python -m prorl_nemo.slurm.freeze CONFIG OUT [OVERRIDE...]`` writes CONFIG with all its
``defaults`` merged to OUT, so that later edits of those files reach no job, and prints what
submit.sh has to know of it, a NUL behind each: run directory, engine, cluster.num_nodes and
cluster.gpus_per_node (empty where the configuration has no such key), base model, then
NAME=VALUE of each environment variable that the configuration reads and that is set now. The
overrides are not written into OUT: they stay arguments of every job.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from prorl_nemo.config_loading import ConfigError, read_yaml

ENVIRONMENT_VARIABLE = re.compile(r"\$\{\s*oc\.env:\s*([A-Za-z_]\w*)")


@dataclass(frozen=True)
class FrozenFacts:
    """What the scripts need to know of a configuration; sizes are None when not in it."""

    run_dir: Path
    engine: str
    num_nodes: int | None
    gpus_per_node: int | None
    model: str
    environment: Mapping[str, str]

    def words(self) -> list[str]:
        """The facts as submit.sh reads them."""
        facts = (self.run_dir, self.engine, self.num_nodes, self.gpus_per_node, self.model)
        pairs = [f"{name}={value}" for name, value in self.environment.items()]
        return ["" if fact is None else str(fact) for fact in facts] + pairs


def freeze_config(path: Path, overrides: Sequence[str], target: Path) -> FrozenFacts:
    """Write the merged file to ``target``; raises ConfigError naming the key."""
    merged = OmegaConf.to_yaml(read_yaml(path))
    target.write_text(merged, encoding="utf-8")
    names = set(ENVIRONMENT_VARIABLE.findall("\n".join([merged, *overrides])))
    tree = read_yaml(path, overrides)
    return FrozenFacts(
        run_dir=Path(str(_select(tree, "checkpointing.checkpoint_dir"))).absolute(),
        engine=str(_select(tree, "prorl.engine")),
        num_nodes=_select(tree, "cluster.num_nodes", optional=True),
        gpus_per_node=_select(tree, "cluster.gpus_per_node", optional=True),
        model=str(_select(tree, "policy.model_name")),
        environment={name: os.environ[name] for name in sorted(names & os.environ.keys())},
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
    for word in facts.words():
        print(word, end="\0")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
