"""Sentences, words and the language of a text, without any download.

Sentences come from NLTK's Punkt with no trained parameters: its trained English model is a
download that compute nodes can't make. Language detection is seeded, so that a text has one
verdict. Both libraries come with the `domains` extra.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from prorl_nemo.tasks.optional_library import import_optional

LANGUAGE_SAMPLE_CHARS = 10_000
"""langdetect reads no more than this of a text."""

# Not only A to Z: str.isupper holds for É and Ж as well.
_CAPITAL = re.compile(r"[^\W\d_a-z]")
_WORD = re.compile(r"\w+")


def count_words(text: str) -> int:
    return sum(1 for _ in _WORD.finditer(text))


def count_sentences(text: str) -> int:
    return sum(1 for _ in _sentence_tokenizer().span_tokenize(text))


def count_capital_words(text: str) -> int:
    """Treebank-style tokens without a lower-case letter and with an upper-case one."""
    tokenizer = _word_tokenizer()
    sentences: list[str] = _sentence_tokenizer().tokenize(text)
    return sum(
        token.isupper()
        for sentence in sentences
        if _CAPITAL.search(sentence)
        for token in tokenizer.tokenize(sentence)
    )


def detect_language(text: str) -> str | None:
    """The ISO 639-1 code langdetect finds most likely; None where it finds no language."""
    langdetect = _import_langdetect()
    try:
        language: str = langdetect.detect(text[:LANGUAGE_SAMPLE_CHARS])
    except langdetect.LangDetectException:
        return None
    return language


@lru_cache(maxsize=1)
def _sentence_tokenizer() -> Any:
    return import_optional("nltk.tokenize.punkt").PunktSentenceTokenizer()


@lru_cache(maxsize=1)
def _word_tokenizer() -> Any:
    return import_optional("nltk.tokenize.destructive").NLTKWordTokenizer()


@lru_cache(maxsize=1)
def _import_langdetect() -> Any:
    langdetect = import_optional("langdetect")
    # The detector samples the text; unseeded, one text can have two verdicts.
    langdetect.DetectorFactory.seed = 0
    return langdetect
