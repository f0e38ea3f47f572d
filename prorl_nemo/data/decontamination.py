"""Which training prompts repeat each other, or a problem of an evaluation set.

Texts are compared as sequences of lower-case words without punctuation or mathematical
typography. A prompt is contaminated when it shares a run of `NGRAM_WORDS` words with an
evaluation problem, or all the words of a shorter one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping

NGRAM_WORDS = 13
MIN_WORDS = 5
"""Shorter evaluation texts ("Compute 2+2.") would match by accident and are left out."""

_WORD = re.compile(r"[^\W_]+")


def normalize_words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


class EvaluationIndex:
    """The n-grams of evaluation problems, by the name of their set."""

    def __init__(
        self,
        evaluation_sets: Mapping[str, Iterable[str]],
        *,
        boilerplate: Iterable[str] = (),
        ngram_words: int = NGRAM_WORDS,
    ) -> None:
        """``boilerplate``: instructions that prompts end with, which are no overlap."""
        self._ngram_words = ngram_words
        self._set_by_ngram: dict[bytes, str] = {}
        self._lengths = {ngram_words}
        self._boilerplate = [" ".join(normalize_words(text)) for text in boilerplate]
        for name, texts in evaluation_sets.items():
            for text in texts:
                self._add(name, self._own_words(text))

    def find_overlap(self, text: str) -> str | None:
        """The name of an evaluation set that ``text`` overlaps with, or None."""
        words = self._own_words(text)
        for length in self._lengths:
            for ngram in _iter_ngrams(words, length):
                if ngram in self._set_by_ngram:
                    return self._set_by_ngram[ngram]
        return None

    def fingerprint(self) -> str:
        """A digest of what is indexed: equal indexes reject the same texts."""
        digest = hashlib.sha256(str(self._ngram_words).encode())
        for ngram in sorted(self._set_by_ngram):
            digest.update(ngram)
        return digest.hexdigest()

    def _own_words(self, text: str) -> list[str]:
        words = " ".join(normalize_words(text))
        for boilerplate in self._boilerplate:
            words = words.removesuffix(boilerplate)
        return words.split()

    def _add(self, name: str, words: list[str]) -> None:
        if len(words) < MIN_WORDS:
            return
        length = min(len(words), self._ngram_words)
        self._lengths.add(length)
        for ngram in _iter_ngrams(words, length):
            self._set_by_ngram.setdefault(ngram, name)


def hash_prompt(prompt: str) -> bytes:
    """Equal for prompts that differ in case and white space only: signs tell 2+2 from 2-2."""
    text = " ".join(prompt.casefold().split())
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _iter_ngrams(words: list[str], length: int) -> Iterator[bytes]:
    for start in range(len(words) - length + 1):
        ngram = " ".join(words[start : start + length])
        yield hashlib.blake2b(ngram.encode("utf-8", "surrogatepass"), digest_size=12).digest()
