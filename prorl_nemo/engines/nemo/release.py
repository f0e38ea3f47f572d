"""Which NeMo-RL is supported, and what to say when another one or none is there."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

SUPPORTED = "0.7.0"
ROOT_VARIABLE = "NEMO_RL_ROOT"
HOW_TO_GET_IT = (
    f"use the container nvcr.io/nvidia/nemo-rl:v{SUPPORTED}, or clone "
    f"https://github.com/NVIDIA-NeMo/RL at tag v{SUPPORTED} and put it on PYTHONPATH (the "
    "package index's `nemo-rl` and `apex` are other projects: do not install them)"
)


def require_nemo_rl() -> str:
    """The version of NeMo-RL that can be imported; ValueError if it is not the supported one."""
    if importlib.util.find_spec("nemo_rl") is None:
        raise ValueError(f"prorl.engine: nemo needs NeMo-RL v{SUPPORTED}: {HOW_TO_GET_IT}")
    if importlib.util.find_spec("nemo_rl.package_info") is None:
        raise ValueError(
            "prorl.engine: the installed `nemo_rl` is an empty placeholder of the package index; "
            f"remove it (pip uninstall nemo-rl) and {HOW_TO_GET_IT}"
        )
    from nemo_rl.package_info import __version__

    version = str(__version__)
    if version.split("+")[0].split("rc")[0] != SUPPORTED:
        raise ValueError(f"NeMo-RL {version} is not supported, v{SUPPORTED} is: {HOW_TO_GET_IT}")
    return version


def find_release_root() -> Path:
    """The source tree of NeMo-RL, with its examples; ValueError when it can't be found.

    NEMO_RL_ROOT names it; without that, the tree that ``import nemo_rl`` comes from.
    """
    spec = importlib.util.find_spec("nemo_rl")
    given = os.environ.get(ROOT_VARIABLE)
    if given is None and spec is not None and spec.submodule_search_locations:
        given = str(Path(next(iter(spec.submodule_search_locations))).parent)
    if given is None or not (Path(given) / "examples" / "configs").is_dir():
        raise ValueError(f"{ROOT_VARIABLE}: {given} is not a NeMo-RL source tree; {HOW_TO_GET_IT}")
    return Path(given)
