"""Checks of what a response says: keywords, letters, words, case, language.

Each function is one constraint of IFEval (arXiv 2311.07911): the response, then the
constraint's arguments by keyword, under the names its data set uses. All run in time linear
in the response; no argument is used as a regular expression.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from prorl_nemo.tasks.natural_language import (
    count_capital_words,
    count_sentences,
    count_words,
    detect_language,
)

Relation = Literal["less than", "at least"]


def has_keywords(text: str, *, keywords: Sequence[str]) -> bool:
    return all(_count_ignoring_case(text, keyword) > 0 for keyword in keywords)


def has_keyword_frequency(text: str, *, keyword: str, frequency: int, relation: Relation) -> bool:
    return _compare(_count_ignoring_case(text, keyword.strip()), relation, frequency)


def lacks_forbidden_words(text: str, *, forbidden_words: Sequence[str]) -> bool:
    """Whole words only: "part" does not forbid "party"."""
    return not any(
        re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE)
        for word in forbidden_words
    )


def has_letter_frequency(
    text: str, *, letter: str, let_frequency: int, let_relation: Relation
) -> bool:
    """Any one character counts as a letter: IFEval asks for "#" once."""
    return _compare(text.lower().count(letter.lower()), let_relation, let_frequency)


def has_capital_word_frequency(
    text: str, *, capital_frequency: int, capital_relation: Relation
) -> bool:
    return _compare(count_capital_words(text), capital_relation, capital_frequency)


def has_number_of_words(text: str, *, num_words: int, relation: Relation) -> bool:
    return _compare(count_words(text), relation, num_words)


def has_number_of_sentences(text: str, *, num_sentences: int, relation: Relation) -> bool:
    return _compare(count_sentences(text), relation, num_sentences)


def is_in_language(text: str, *, language: str) -> bool:
    """False where no language can be told: a check that can't be made is not passed."""
    return detect_language(text) == language


def is_english_capital(text: str) -> bool:
    return text.isupper() and detect_language(text) == "en"


def is_english_lowercase(text: str) -> bool:
    return text.islower() and detect_language(text) == "en"


def lacks_commas(text: str) -> bool:
    return "," not in text


def _count_ignoring_case(text: str, phrase: str) -> int:
    return sum(1 for _ in re.finditer(re.escape(phrase), text, re.IGNORECASE))


def _compare(count: int, relation: Relation, threshold: int) -> bool:
    return count < threshold if relation == "less than" else count >= threshold
