"""The published data sets of the paper's mixture: where each one is and how much of it is used.

Reasoning Gym is not here: its problems are generated (`logic_problems`), not downloaded.
Revisions are commits of the Hugging Face repositories, so that a mixture can be made again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prorl_nemo.data.source_rows import (
    Row,
    SkippedRow,
    convert_deepscaler,
    convert_eurus_code,
    convert_nemotron_instructions,
    convert_scp,
)
from prorl_nemo.tasks.base import Problem


@dataclass(frozen=True)
class Source:
    """One data set. ``num_problems`` is how many are used (None: all there are).

    For the training mixture they are the paper's counts (arXiv 2505.24864, section 3.2).
    """

    task: str
    repository: str
    revision: str
    files: tuple[str, ...]
    licence: str
    num_problems: int | None
    convert: Callable[[Row], Problem | SkippedRow]
    notice: str = ""


SOURCES: Mapping[str, Source] = {
    "math": Source(
        task="math",
        repository="agentica-org/DeepScaleR-Preview-Dataset",
        revision="b6ae8c60f5c1f2b594e2140b91c49c9ad0949e29",
        files=("deepscaler.json",),
        licence="MIT",
        num_problems=40_000,
        convert=convert_deepscaler,
    ),
    "code": Source(
        task="code",
        repository="PRIME-RL/Eurus-2-RL-Data",
        revision="9776b13264b5aaa0b16495fcf086a0a8d86fd655",
        files=("train.parquet",),
        licence="MIT",
        num_problems=24_000,
        convert=convert_eurus_code,
    ),
    "stem": Source(
        task="stem",
        repository="EricLu/SCP-116K",
        revision="0f56afb",
        files=("SCP_116K_in_open_source_format.jsonl",),
        licence="CC BY-NC-SA 4.0",
        num_problems=25_000,
        convert=convert_scp,
        notice="SCP-116K is licensed for NON-COMMERCIAL use only, and share-alike.",
    ),
    "instructions": Source(
        task="instructions",
        repository="nvidia/Llama-Nemotron-Post-Training-Dataset",
        revision="ab2a40d258a6a4d9d4c277d702aeea445081766c",
        files=("RL/instruction_following/instruction_following.jsonl",),
        licence="CC BY 4.0",
        num_problems=10_000,
        convert=convert_nemotron_instructions,
    ),
}
