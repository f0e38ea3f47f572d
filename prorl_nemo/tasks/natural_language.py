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

NUM_LANGUAGE_SAMPLES = 8
LANGUAGE_SAMPLE_CHARS = 100
"""A longer text is judged by samples from all over it: langdetect's cost grows with its text,
and it reads only the first 10,000 characters of a long one."""

_WORD = re.compile(r"\w+")


def count_words(text: str) -> int:
    return sum(1 for _ in _WORD.finditer(text))


def count_sentences(text: str) -> int:
    return sum(1 for _ in _sentence_tokenizer().span_tokenize(text))


def count_capital_words(text: str) -> int:
    """Treebank-style tokens without a lower-case letter and with an upper-case one.

    A token never spans white space, so what has no upper-case letter need not be tokenized.
    """
    candidates = " ".join(word for word in text.split() if word != word.lower())
    return sum(token.isupper() for token in _word_tokenizer().tokenize(candidates))


def detect_language(text: str) -> str | None:
    """The ISO 639-1 code langdetect finds most likely; None where it finds no language."""
    langdetect = _import_langdetect()
    try:
        language: str = langdetect.detect(_sample_evenly(text))
    except langdetect.LangDetectException:
        return None
    return language


def load_libraries() -> None:
    """Imports NLTK and langdetect with its language profiles: a second or more."""
    count_sentences("One. Two.")
    count_capital_words("ONE")
    detect_language("one two three")


def _sample_evenly(text: str) -> str:
    if len(text) <= NUM_LANGUAGE_SAMPLES * LANGUAGE_SAMPLE_CHARS:
        return text
    step = (len(text) - LANGUAGE_SAMPLE_CHARS) // (NUM_LANGUAGE_SAMPLES - 1)
    starts = (number * step for number in range(NUM_LANGUAGE_SAMPLES))
    return " ".join(text[start : start + LANGUAGE_SAMPLE_CHARS] for start in starts)


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
