"""The files of a source, downloaded or from a local folder, and their rows.

Rows are read one at a time: the code source holds gigabytes of tests.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from prorl_nemo.data.sources import Source
from prorl_nemo.tasks.optional_library import import_optional

HASH_BLOCK_BYTES = 1 << 20


def locate_files(source: Source, *, local_folder: Path | None) -> dict[str, Path]:
    """Each file of ``source`` on this machine, by its name in the repository.

    With ``local_folder``, files are looked for as ``<folder>/<repository>/<file>`` and as
    ``<folder>/<file name>``, and nothing is downloaded; ValueError names what is missing.
    Without, they are downloaded at the pinned revision into the Hugging Face cache.
    """
    return {name: _locate(source, name, local_folder) for name in source.files}


def read_rows(path: Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    """("file:row", row) of a .jsonl, .json (a list), .parquet or .csv file; rows count from 1."""
    readers = {
        ".jsonl": _read_jsonl,
        ".json": _read_json,
        ".parquet": _read_parquet,
        ".csv": _read_csv,
    }
    if path.suffix not in readers:
        raise ValueError(f"{path}: a source file ends in {', '.join(readers)}")
    for row_number, row in enumerate(readers[path.suffix](path), start=1):
        where = f"{path}:{row_number}"
        if not isinstance(row, Mapping):
            raise ValueError(f"{where}: expected an object, found {type(row).__name__}")
        yield where, row


def hash_file(path: Path) -> str:
    """SHA-256 of the file, as lower-case hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _locate(source: Source, name: str, local_folder: Path | None) -> Path:
    if local_folder is None:
        return _download(source, name)
    candidates = (local_folder / source.repository / name, local_folder / Path(name).name)
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    tried = " or ".join(map(str, candidates))
    raise ValueError(f"{source.repository}: {name} is neither at {tried}")


def _download(source: Source, name: str) -> Path:
    # Deferred: only a preparation without a local folder needs the network.
    huggingface_hub = import_optional("huggingface_hub")
    path: str = huggingface_hub.hf_hub_download(
        source.repository, name, repo_type="dataset", revision=source.revision
    )
    return Path(path)


def _read_jsonl(path: Path) -> Iterator[object]:
    with path.open("rb") as lines:
        for line_number, line in enumerate(lines, start=1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}:{line_number}: not JSON ({error})") from error


def _read_json(path: Path) -> Iterator[object]:
    rows = json.loads(path.read_bytes())
    if not isinstance(rows, list):
        raise ValueError(f"{path}: expected a list of rows, found {type(rows).__name__}")
    return iter(rows)


def _read_csv(path: Path) -> Iterator[object]:
    with path.open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


def _read_parquet(path: Path) -> Iterator[object]:
    parquet = import_optional("pyarrow.parquet")
    for batch in parquet.ParquetFile(path).iter_batches(batch_size=1_000):
        yield from batch.to_pylist()
