"""The 25 published IFEval constraints by id, and the check of their arguments.

To add a constraint, write a function `(text, *, arguments...) -> bool` and enter it in
`CONSTRAINTS`; its keyword arguments and their annotations are the schema of its arguments.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import get_args, get_type_hints

from prorl_nemo.tasks import constraints_content as content
from prorl_nemo.tasks import constraints_layout as layout

CONSTRAINTS: Mapping[str, Callable[..., bool]] = {
    "keywords:existence": content.has_keywords,
    "keywords:frequency": content.has_keyword_frequency,
    "keywords:forbidden_words": content.lacks_forbidden_words,
    "keywords:letter_frequency": content.has_letter_frequency,
    "language:response_language": content.is_in_language,
    "length_constraints:number_sentences": content.has_number_of_sentences,
    "length_constraints:number_paragraphs": layout.has_number_of_paragraphs,
    "length_constraints:number_words": content.has_number_of_words,
    "length_constraints:nth_paragraph_first_word": layout.has_nth_paragraph_first_word,
    "detectable_content:number_placeholders": layout.has_number_of_placeholders,
    "detectable_content:postscript": layout.has_postscript,
    "detectable_format:number_bullet_lists": layout.has_number_of_bullets,
    "detectable_format:constrained_response": layout.is_constrained_response,
    "detectable_format:number_highlighted_sections": layout.has_number_of_highlights,
    "detectable_format:multiple_sections": layout.has_number_of_sections,
    "detectable_format:json_format": layout.is_json,
    "detectable_format:title": layout.has_title,
    "combination:two_responses": layout.is_two_responses,
    "combination:repeat_prompt": layout.repeats_prompt,
    "startend:end_checker": layout.ends_with,
    "startend:quotation": layout.is_quoted,
    "change_case:capital_word_frequency": content.has_capital_word_frequency,
    "change_case:english_capital": content.is_english_capital,
    "change_case:english_lowercase": content.is_english_lowercase,
    "punctuation:no_comma": content.lacks_commas,
}


@dataclass(frozen=True)
class Constraint:
    """One constraint with its arguments, checked to fit."""

    constraint_id: str
    arguments: Mapping[str, object]

    def is_followed(self, text: str) -> bool:
        """False for a blank text, whatever the constraint forbids or asks."""
        return bool(text.strip()) and CONSTRAINTS[self.constraint_id](text, **self.arguments)


def make_constraint(constraint_id: str, arguments: Mapping[str, object] | None) -> Constraint:
    """ValueError, naming the id, for an unknown id and for missing, unknown or bad arguments.

    Arguments that are None are dropped: the data sets fill unused columns with null.
    """
    if constraint_id not in CONSTRAINTS:
        raise ValueError(f"unknown constraint {constraint_id!r}")
    given = {name: value for name, value in (arguments or {}).items() if value is not None}
    schema = _argument_types(constraint_id)
    if missing := sorted(set(schema) - set(given)):
        raise ValueError(f"{constraint_id}: lacks {', '.join(missing)}")
    if unknown := sorted(set(given) - set(schema)):
        raise ValueError(f"{constraint_id}: does not take {', '.join(unknown)}")
    checked = {
        name: _check_argument(given[name], annotation, where=f"{constraint_id}: {name}")
        for name, annotation in schema.items()
    }
    return Constraint(constraint_id, checked)


@cache
def _argument_types(constraint_id: str) -> dict[str, object]:
    check = CONSTRAINTS[constraint_id]
    hints = get_type_hints(check)
    parameters = inspect.signature(check).parameters.values()
    return {p.name: hints[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY}


def _check_argument(value: object, annotation: object, *, where: str) -> object:
    if annotation is int:
        # JSON from data frames writes whole numbers as 3.0
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
            raise ValueError(f"{where} must be a whole number, found {value!r}")
        return int(value)
    if annotation is str:
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{where} must be text, found {value!r}")
        return value
    if annotation == Sequence[str]:
        words = value if isinstance(value, (list, tuple)) else ()
        if not words or not all(isinstance(word, str) and word.strip() for word in words):
            raise ValueError(f"{where} must be a list of texts, found {value!r}")
        return tuple(words)
    if value not in get_args(annotation):
        allowed = " or ".join(map(repr, get_args(annotation)))
        raise ValueError(f"{where} must be {allowed}, found {value!r}")
    return value
