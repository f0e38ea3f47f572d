"""Where a text's words occur verbatim in a reference corpus.

Two indexes answer the same question, for each token of a text: how far does the longest
run starting here go that also occurs in the corpus? SuffixArrayIndex holds a folder of
text files in memory; InfiniGramIndex asks an infini-gram index on disk (trillions of
tokens). Both need the `creativity` extra.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\w+|[^\w\s]")
_UNKNOWN = -2  # no word of the corpus
_TEXT_SUFFIXES = (".txt", ".md", ".jsonl")


class CorpusIndex(Protocol):
    """A searchable reference corpus."""

    description: str

    def match_lengths(self, texts: Sequence[str], *, max_length: int) -> list[NDArray[np.int64]]:
        """For each text and each of its tokens, the length of the longest match there. [T] each.

        Tokens are the index's own. Lengths beyond ``max_length`` are cut to it.
        """
        ...


def split_words(text: str) -> list[str]:
    """Words and single punctuation marks, case kept."""
    return _WORD.findall(text)


def read_corpus(folder: Path) -> Iterator[str]:
    """Documents of a folder, at any depth: .txt and .md files whole, .jsonl by its `text` fields.

    Raises ValueError for a folder without any, and naming file and line for a bad line.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix in _TEXT_SUFFIXES and p.is_file())
    if not paths:
        raise ValueError(f"{folder}: no {', '.join(_TEXT_SUFFIXES)} files to compare with")
    for path in paths:
        if path.suffix != ".jsonl":
            yield path.read_text(encoding="utf-8", errors="replace")
            continue
        with path.open(encoding="utf-8", errors="replace") as file:
            for line_number, line in enumerate(file, start=1):
                yield _text_field(line, where=f"{path}:{line_number}")


class SuffixArrayIndex:
    """A suffix array over the words of a corpus (libdivsufsort through pydivsufsort).

    Memory: about 12 bytes per word of the corpus, and its vocabulary.
    """

    def __init__(self, documents: Iterable[str], *, description: str) -> None:
        # Deferred: pydivsufsort is an extra that only this class needs.
        try:
            from pydivsufsort import divsufsort
        except ImportError:
            raise ValueError(
                "the creativity index needs pydivsufsort: pip install 'prorl_nemo[creativity]'"
            ) from None

        self._ids: dict[str, int] = {}
        tokens: list[int] = []
        num_documents = 0
        for document in documents:
            # 0 separates documents and no word has it, so no match crosses them.
            tokens.append(0)
            tokens.extend(
                self._ids.setdefault(w, len(self._ids) + 1) for w in split_words(document)
            )
            num_documents += 1
        if not self._ids:
            raise ValueError(f"{description}: the corpus has no words")
        corpus = np.array(tokens, dtype=np.int32)
        self._order = cast("NDArray[np.int64]", divsufsort(corpus).astype(np.int64))
        # Past the end stands a token smaller than all, as in the suffix order.
        self._corpus = np.append(corpus, np.int32(-1))
        self.description = f"{description}: {len(corpus) - num_documents:,} words"

    @classmethod
    def from_folder(cls, folder: Path) -> SuffixArrayIndex:
        """Index the documents of a folder (see read_corpus)."""
        return cls(read_corpus(folder), description=folder.name)

    def match_lengths(self, texts: Sequence[str], *, max_length: int) -> list[NDArray[np.int64]]:
        """Longest match from each word, by narrowing all suffix ranges one word at a time."""
        ids = [[self._ids.get(w, _UNKNOWN) for w in split_words(text)] for text in texts]
        # An unknown word behind each text: no match crosses from one into the next.
        query = np.array([i for text in ids for i in (*text, _UNKNOWN)], dtype=np.int32)
        lengths = np.zeros(len(query), dtype=np.int64)
        starts = np.arange(len(query))
        low = np.zeros(len(query), dtype=np.int64)
        high = np.full(len(query), len(self._order), dtype=np.int64)
        for depth in range(max_length):
            is_inside = starts + depth < len(query)
            starts, low, high = starts[is_inside], low[is_inside], high[is_inside]
            wanted = query[starts + depth]
            new_low = self._bisect(low, high, wanted, depth=depth, is_upper=False)
            new_high = self._bisect(low, high, wanted, depth=depth, is_upper=True)
            is_found = new_low < new_high
            starts, low, high = starts[is_found], new_low[is_found], new_high[is_found]
            lengths[starts] = depth + 1
            if not len(starts):
                break
        ends = np.cumsum([len(text) + 1 for text in ids])
        return [lengths[end - len(text) - 1 : end - 1] for end, text in zip(ends, ids, strict=True)]

    def _bisect(
        self,
        low: NDArray[np.int64],  # [Q]
        high: NDArray[np.int64],  # [Q]
        wanted: NDArray[np.int32],  # [Q]
        *,
        depth: int,
        is_upper: bool,
    ) -> NDArray[np.int64]:
        """First suffix of each range whose word at ``depth`` is not below (not at) the wanted."""
        low, high = low.copy(), high.copy()
        while (is_open := low < high).any():
            middle = np.where(is_open, (low + high) // 2, 0)
            position = np.minimum(self._order[middle] + depth, len(self._corpus) - 1)
            word = self._corpus[position]
            goes_right = is_open & ((word <= wanted) if is_upper else (word < wanted))
            low = np.where(goes_right, middle + 1, low)
            high = np.where(is_open & ~goes_right, middle, high)
        return low


class Tokenizer(Protocol):
    """What is needed of a Hugging Face tokenizer."""

    eos_token_id: int

    def __len__(self) -> int: ...

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...


class InfiniGramIndex:
    """An infini-gram index on disk (Liu et al. 2024), over the tokens of its own tokenizer.

    ``token_dtype`` is the one it was built with: u8, u16 or u32.
    """

    def __init__(
        self, directories: Sequence[Path], tokenizer: Tokenizer, *, token_dtype: str = "u16"
    ) -> None:
        # Deferred: infini-gram is an extra that only this class needs.
        try:
            from infini_gram.engine import InfiniGramEngine
        except ImportError:
            raise ValueError(
                "an infini-gram index needs: pip install 'prorl_nemo[creativity]'"
            ) from None

        missing = [d for d in directories if not (d / "table.0").exists()]
        if missing or not directories:
            raise ValueError(f"{missing[0] if missing else 'index'}: not an infini-gram index")
        self._tokenizer = tokenizer
        self._engine = InfiniGramEngine(
            index_dir=[str(d) for d in directories],
            eos_token_id=tokenizer.eos_token_id,
            vocab_size=len(tokenizer),
            token_dtype=token_dtype,
        )
        self.description = ", ".join(d.name for d in directories)

    def match_lengths(self, texts: Sequence[str], *, max_length: int) -> list[NDArray[np.int64]]:
        """Longest match from each token of each text."""
        return [self._match_lengths(text, max_length=max_length) for text in texts]

    def _match_lengths(self, text: str, *, max_length: int) -> NDArray[np.int64]:
        ids = self._tokenizer.encode(text, add_special_tokens=False)
        answer = cast("dict[str, list[int]]", self._engine.creativity(input_ids=ids))
        if "rs" not in answer:
            raise ValueError(f"{self.description}: {answer}")
        # The engine leaves out matches of one token inside longer ones: no coverage is lost.
        lengths = np.array(answer["rs"], dtype=np.int64) - np.arange(len(ids))
        return lengths.clip(max=max_length)


def _text_field(line: str, *, where: str) -> str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        raise ValueError(f"{where}: not a line of JSON") from None
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise ValueError(f"{where}: no text field")
    return str(row["text"])
