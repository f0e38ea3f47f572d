"""`prorl data`: prepare the training mixture or benchmarks as local files, or preview them."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prorl_nemo.commands.hash_seed import fix_hash_seed

if TYPE_CHECKING:
    from prorl_nemo.data.sources import Source

TASKS = ("math", "stem", "code", "instructions", "logic", "logic_validation")
LOGIC_PARTS = ".logic_parts"
"""Subfolder with what is generated so far; gone when the preparation is done."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    prepare = verbs.add_parser("prepare", help="write <task>.jsonl files and a manifest, resumable")
    prepare.add_argument("folder", type=Path)
    prepare.add_argument(
        "--task",
        action="append",
        choices=TASKS,
        help="only this; can be given again",
    )
    prepare.add_argument(
        "--local", type=Path, default=None, help="folder with the sources' files; no network"
    )
    prepare.add_argument(
        "--count",
        action="append",
        default=[],
        metavar="TASK=N",
        help="instead of the paper's count",
    )
    prepare.add_argument(
        "--evaluation-set",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="problem file that no training prompt may overlap with",
    )
    prepare.add_argument("--seed", type=int, default=0)
    benchmarks = verbs.add_parser("benchmarks", help="write <benchmark>.jsonl files and a manifest")
    benchmarks.add_argument("folder", type=Path)
    benchmarks.add_argument(
        "--benchmark", action="append", metavar="NAME", help="only this; can be given again"
    )
    benchmarks.add_argument(
        "--local", type=Path, default=None, help="folder with the sources' files; no network"
    )
    show = verbs.add_parser("show", help="preview a prepared folder")
    show.add_argument("folder", type=Path)
    show.add_argument("--task", default=None)
    show.add_argument("--num-problems", type=int, default=3)
    show.add_argument("--full", action="store_true", help="whole prompts and metadata")


def run(arguments: argparse.Namespace) -> int:
    if arguments.action == "show":
        from prorl_nemo.data.mixture_files import format_preview, read_manifest

        if not read_manifest(arguments.folder):
            raise ValueError(f"{arguments.folder}: nothing was prepared here")
        print(
            format_preview(
                arguments.folder,
                task=arguments.task,
                num_problems=arguments.num_problems,
                full=arguments.full,
            )
        )
        return 0
    if arguments.action == "benchmarks":
        return _prepare_benchmarks(arguments)
    return _prepare(arguments)


def _prepare(arguments: argparse.Namespace) -> int:
    fix_hash_seed()
    from prorl_nemo.data.logic_problems import NUM_PROBLEMS, logic_input
    from prorl_nemo.data.problem_files import load_problems
    from prorl_nemo.data.sources import SOURCES

    evaluation_sets = {
        name: [problem.prompt for problem in load_problems(Path(file), task=name)]
        for name, file in map(_pair, arguments.evaluation_set)
    }
    tasks = arguments.task or TASKS
    counts = {task: int(count) for task, count in map(_pair, arguments.count)}
    parts_folder = arguments.folder / LOGIC_PARTS
    generated = {
        task: logic_input(task, counts.get(task, NUM_PROBLEMS[task]), parts_folder)
        for task in tasks
        if task in NUM_PROBLEMS
    }
    _write_files(
        arguments,
        tasks,
        sources=SOURCES,
        evaluation_sets=evaluation_sets,
        counts=counts,
        generated=generated,
        seed=arguments.seed,
    )
    shutil.rmtree(parts_folder, ignore_errors=True)
    return 0


def _prepare_benchmarks(arguments: argparse.Namespace) -> int:
    from prorl_nemo.data.benchmarks import BENCHMARKS

    names = arguments.benchmark or list(BENCHMARKS)
    for name in names:
        if name not in BENCHMARKS:
            raise ValueError(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    _write_files(arguments, names, sources=BENCHMARKS)
    return 0


def _write_files(
    arguments: argparse.Namespace,
    tasks: Sequence[str],
    *,
    sources: Mapping[str, Source],
    **options: Any,
) -> None:
    """`prepare_mixture` with progress before it is done, and counts behind."""
    from rich.progress import Progress, TextColumn

    from prorl_nemo.data.mixture_files import format_counts
    from prorl_nemo.data.prepare import prepare_mixture

    for task in tasks:
        if task in sources and sources[task].notice:
            print(f"{task}: {sources[task].notice}")
    with Progress(TextColumn("{task.description}"), TextColumn("{task.completed} rows")) as bar:
        shown = {task: bar.add_task(task) for task in tasks}
        files = prepare_mixture(
            arguments.folder,
            tasks=tasks,
            sources=sources,
            local_folder=arguments.local,
            on_progress=lambda task, stage, num_rows: bar.update(
                shown[task], description=f"{task}: {stage}", completed=num_rows
            ),
            **options,
        )
    for task in tasks:
        print(f"{task}: {format_counts(files[task])}")


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name or not value:
        raise ValueError(f"{text}: expected NAME=VALUE")
    return name, value
