"""Reasoning Gym's share of the mixture, generated once and kept as a file.

A file saves every job of a campaign the generators, some of which take a tenth of a second for a
problem, and holds the same problems for whatever hash seed Python has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prorl_nemo.data.mixture_files import open_atomic
from prorl_nemo.data.prepare import TaskInput
from prorl_nemo.data.problem_files import format_row, load_problems
from prorl_nemo.data.source_rows import SkippedRow
from prorl_nemo.tasks.base import Problem
from prorl_nemo.tasks.logic import PAPER_HELD_OUT, LogicTask
from prorl_nemo.tasks.logic_entry import encode_entry

NUM_PROBLEMS: Mapping[str, int] = {"logic": 37_000, "logic_validation": 9_600}
"""The paper's counts (arXiv 2505.24864, section 3.2): 100 for validation of each data set."""

# The paper trains on 96 tasks and names the three that it holds out. Which others are left out is
# ours: two with a broken stock scorer, four that take long to generate, and the composite.
LEFT_OUT = frozenset(
    {
        *PAPER_HELD_OUT,
        "coin_flip",
        "complex_arithmetic",
        "codeio",
        "futoshiki",
        "knight_swap",
        "zebra_puzzles",
        "composite",
    }
)
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "graph_color": {"min_num_vertices": 10, "max_num_vertices": 10}
}
FIRST_SEED: Mapping[str, int] = {"logic": 100_000_000, "logic_validation": 300_000_000}
SEEDS_PER_DATA_SET = 1_000_000
# Small data sets repeat themselves; so many items are made for each problem that is wanted.
MAX_ITEMS_PER_PROBLEM = 4


@dataclass(frozen=True)
class LogicPart:
    """The problems of one data set: distinct prompts among items ``seed``, ``seed`` + 1, ..."""

    dataset: str
    seed: int
    num_problems: int
    config: Mapping[str, Any]


def plan_parts(task: str, num_problems: int) -> list[LogicPart]:
    """``num_problems`` spread evenly over the data sets, the first ones get one more."""
    from reasoning_gym.factory import DATASETS

    names = sorted(set(DATASETS) - LEFT_OUT)
    share, rest = divmod(num_problems, len(names))
    return [
        LogicPart(
            dataset=name,
            seed=FIRST_SEED[task] + position * SEEDS_PER_DATA_SET,
            num_problems=share + (position < rest),
            config=SETTINGS.get(name, {}),
        )
        for position, name in enumerate(names)
        if share + (position < rest)
    ]


def logic_input(task: str, num_problems: int, parts_folder: Path) -> TaskInput:
    """The input of ``task`` ("logic" or "logic_validation") for `prepare.prepare_mixture`.

    Each data set's problems are kept in ``parts_folder`` as soon as they are made, so that an
    interrupted preparation goes on with the next data set. Needs PYTHONHASHSEED.
    """
    parts = plan_parts(task, num_problems)
    described: dict[str, object] = {
        "generator": f"reasoning-gym {version('reasoning-gym')}",
        "licence": "Apache-2.0",
        "data_sets": [asdict(part) for part in parts],
    }

    def read() -> Iterator[Problem | SkippedRow]:
        parts_folder.mkdir(parents=True, exist_ok=True)
        for part in parts:
            path = parts_folder / f"{part.dataset}-{part.seed}-{part.num_problems}.jsonl"
            if not path.is_file():
                with open_atomic(path) as file:
                    for problem in generate_part(part):
                        file.write(format_row(problem))
            problems = load_problems(path, task=task)
            yield from problems
            for _ in range(part.num_problems - len(problems)):
                yield SkippedRow(f"{part.dataset} has no more different problems")

    return TaskInput(task, described, num_problems, read)


def generate_part(part: LogicPart) -> Iterator[Problem]:
    """The problems of one data set, each prompt once; fewer where it has no more."""
    items = LogicTask(
        "logic",
        part.dataset,
        seed=part.seed,
        num_problems=part.num_problems * MAX_ITEMS_PER_PROBLEM,
        dataset_config=part.config,
    )
    prompts: set[str] = set()
    for index in range(len(items)):
        if len(prompts) == part.num_problems:
            return
        item = items[index]
        if item.prompt in prompts:
            continue
        prompts.add(item.prompt)
        try:
            entry = encode_entry(item.metadata["entry"])
        except ValueError as error:
            raise ValueError(f"{part.dataset}, item {part.seed + index}: {error}") from error
        metadata = {"dataset": part.dataset, "config": dict(part.config), "entry": entry}
        problem_id = f"logic/{part.dataset}/{part.seed + index}"
        yield Problem(problem_id, item.task, item.prompt, item.answer, metadata)
