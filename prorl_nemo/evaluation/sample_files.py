"""The file format of samples: one JSON line per chunk, settings beside it.

RUN/evaluation/<model>/<benchmark>.jsonl is only ever appended to, one chunk per write,
so that a killed evaluation leaves at most one torn line, at the end. Interpretation
(arrays, completeness, comparability) is samples.py's.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, get_args

Role = Literal["trained", "held_out_task", "sweep"]


@dataclass(frozen=True)
class SampleMeta:
    """Who was sampled on what, and how. Two files may be compared when the how agrees."""

    model: str
    model_order: int  # 0 is the base model; rises to the final one
    step: int | None  # training step of the model, None for the base
    benchmark: str
    task: str
    role: Role
    sweep_value: float | None  # difficulty, e.g. number of nodes
    sweep_group: str | None  # benchmarks of one sweep share it
    num_problems: int
    num_samples: int  # per problem
    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int


@dataclass(frozen=True)
class SampleChunk:
    """Consecutive samples of one problem: first_sample, first_sample + 1, ..."""

    problem_id: str
    first_sample: int
    rewards: tuple[float, ...]
    responses: tuple[str, ...]
    num_tokens: tuple[int, ...]
    truncated: tuple[bool, ...]


def meta_path(samples_path: Path) -> Path:
    """`x.jsonl` -> `x.meta.json`."""
    return samples_path.with_name(samples_path.name.removesuffix(".jsonl") + ".meta.json")


def write_meta(samples_path: Path, meta: SampleMeta) -> None:
    """Write the settings beside a samples file, atomically."""
    path = meta_path(samples_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(asdict(meta), indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_meta(path: Path) -> SampleMeta:
    """Read settings; ValueError naming the file and the field that is missing or wrong."""
    if not path.exists():
        raise ValueError(f"{path}: missing; samples without their settings can't be compared")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not JSON ({error.msg})") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: not a JSON object")
    names = [f.name for f in fields(SampleMeta)]
    missing = [n for n in names if n not in values]
    if missing:
        raise ValueError(f"{path}: {missing[0]} is missing")
    meta = SampleMeta(**{n: values[n] for n in names})
    if meta.role not in get_args(Role):
        raise ValueError(f"{path}: role is {meta.role!r}, not one of {get_args(Role)}")
    for name in ("num_problems", "num_samples", "max_new_tokens"):
        if not isinstance(values[name], int) or values[name] < 1:
            raise ValueError(f"{path}: {name} is {values[name]!r}, not a positive integer")
    return meta


def append_chunk(samples_path: Path, chunk: SampleChunk) -> None:
    """Append one chunk as one line and hand it to the disk before returning."""
    samples_path.parent.mkdir(parents=True, exist_ok=True)
    with samples_path.open("ab") as file:
        file.write(chunk_line(chunk))
        file.flush()
        os.fsync(file.fileno())


def chunk_line(chunk: SampleChunk) -> bytes:
    """A chunk as its line of the file, newline included."""
    line = json.dumps(asdict(chunk), ensure_ascii=False) + "\n"
    return line.encode("utf-8", errors="surrogatepass")


def iter_chunks(path: Path) -> Iterator[tuple[int, SampleChunk | None]]:
    """Yield (line number, chunk); (line number, None) for a torn last line.

    Raises ValueError naming file and line for any other line that is not a whole chunk.
    """
    with path.open("rb") as file:
        for line_number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                yield line_number, None
                return
            yield line_number, _parse_chunk(line, where=f"{path}:{line_number}")


def repair_torn_tail(path: Path) -> int:
    """Cut an unfinished last line off; returns the number of bytes removed, 0 if it is whole."""
    if not path.exists():
        return 0
    size = path.stat().st_size
    keep = 0
    with path.open("rb+") as file:
        for line in file:
            keep += len(line) if line.endswith(b"\n") else 0
        file.truncate(keep)
        os.fsync(file.fileno())
    return size - keep


def count_done(path: Path) -> dict[str, int]:
    """Samples already there for each problem; a missing file has none, a torn line counts none.

    Raises ValueError where the samples of a problem don't start at 0 or leave a gap, as
    going on from the count would then sample something twice.
    """
    if not path.exists():
        return {}
    parts: dict[str, list[tuple[int, int, int]]] = {}
    for line_number, chunk in iter_chunks(path):
        if chunk is not None:
            part = (chunk.first_sample, len(chunk.rewards), line_number)
            parts.setdefault(chunk.problem_id, []).append(part)
    done: dict[str, int] = {}
    for problem_id, spans in parts.items():
        end = 0
        for first, count, line_number in sorted(spans):
            if first != end:
                raise ValueError(
                    f"{path}:{line_number}: samples of problem {problem_id!r} go on at {first}, "
                    f"expected {end}"
                )
            end += count
        done[problem_id] = end
    return done


def _parse_chunk(line: bytes, *, where: str) -> SampleChunk:
    try:
        values = json.loads(line.decode("utf-8", errors="surrogatepass"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ValueError(f"{where}: not a line of JSON") from None
    names = [f.name for f in fields(SampleChunk)]
    if not isinstance(values, dict) or any(n not in values for n in names):
        raise ValueError(f"{where}: not a chunk of samples (needs {', '.join(names)})")
    lists = {n: values[n] for n in names[2:]}
    if not all(isinstance(v, list) for v in lists.values()):
        raise ValueError(f"{where}: {', '.join(lists)} must be lists")
    lengths = {n: len(v) for n, v in lists.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{where}: unequal counts {lengths}")
    for reward in lists["rewards"]:
        if not isinstance(reward, int | float) or not math.isfinite(reward):
            raise ValueError(f"{where}: reward {reward!r} is not a finite number")
        if not 0.0 <= reward <= 1.0:
            raise ValueError(f"{where}: reward {reward!r} is outside [0, 1]")
    return SampleChunk(
        problem_id=str(values["problem_id"]),
        first_sample=int(values["first_sample"]),
        rewards=tuple(float(r) for r in lists["rewards"]),
        responses=tuple(str(r) for r in lists["responses"]),
        num_tokens=tuple(int(t) for t in lists["num_tokens"]),
        truncated=tuple(bool(t) for t in lists["truncated"]),
    )
