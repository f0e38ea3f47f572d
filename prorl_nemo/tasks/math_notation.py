r"""One spelling for the notations that mathematical answers come in.

`canonical_answer` undoes typography (``\dfrac``, ``\left``, thin spaces, currency, degrees,
``\text{}``), `split_unit` takes a unit off a quantity and `split_elements` opens a tuple, set
or list. None of them knows what the text means: two different answers never become equal
here except by spelling.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LIST_SEPARATOR = ";"
"""What canonical text has for a comma with a space, and for "and" and "or": never thousands."""

_SPELLINGS = (
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|limits)(?![a-zA-Z])"), ""),
    (re.compile(r"\\!\s*"), ""),
    (re.compile(r"\s*\{,\s*\}"), ","),
    (re.compile(r"(?<=[0-9])(?:\\[,;: ]|~)(?=[0-9]{3}(?![0-9]))"), ","),
    (re.compile(r"\\[,;: ]|~|\\q?quad(?![a-zA-Z])"), " "),
    (re.compile(r"\\\$|\\(?:pounds|euro)(?![a-zA-Z])|[$€£]"), ""),
    (re.compile(r"\^?\{?\\circ\}?|\\degree(?![a-zA-Z])|°"), ""),
    (re.compile(r"\\%"), "%"),
    (re.compile("[−–]"), "-"),
    (re.compile(r"\\lbrace(?![a-zA-Z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![a-zA-Z])"), r"\\}"),
    (re.compile(r"\\(?:leq|le)(?![a-zA-Z])"), r"\\leq"),
    (re.compile(r"\\(?:geq|ge)(?![a-zA-Z])"), r"\\geq"),
    (re.compile(r"\\infin(?![a-zA-Z])|∞"), r"\\infty"),
    (re.compile("π"), r"\\pi"),
)
_MATH_DELIMITERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm|normal)?|mathrm|mathbf|mathit|mbox|operatorname)\{")
_TRAILING_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm)?|mathrm|mbox)\s*\{([^{}]*)\}((?:\^\{?-?[0-9]+\}?)?)$"
)
_BARE_FRACTION = re.compile(r"\\frac\s*([0-9])\s*(?:([0-9])|(?=\{))")
_HALF_BARE_FRACTION = re.compile(r"(\\frac\{[^{}]*\})\s*([0-9])")
_SEPARATOR_WORDS = re.compile(r"[,;]?\s+(?:and|or)\s+|,\s+")
_INTERVAL_BRACKETS = (("(", ")"), ("(", "]"), ("[", ")"), ("[", "]"))
_SET_BRACKETS = (("\\{", "\\}"), ("{", "}"))
_NOT_UNITS = frozenset({"am", "pm", "a.m.", "p.m.", "and", "or"})


@dataclass(frozen=True)
class Elements:
    """The members of a tuple, interval, set or bare list, with its brackets ("" for none)."""

    opening: str
    closing: str
    members: tuple[str, ...]

    @property
    def is_ordered(self) -> bool:
        return self.opening in ("(", "[")


def canonical_answer(text: str) -> str:
    """``text`` in one spelling, without white space and without what only decorates."""
    text = _strip_math_delimiters(text.strip())
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    text = unwrap_text_commands(text)
    text = _SEPARATOR_WORDS.sub(LIST_SEPARATOR, text.strip())
    text = re.sub(r"(?<=[0-9]) (?=[0-9]{3}(?![0-9]))", ",", text)
    text = re.sub(r"\s+", "", text)
    text = _BARE_FRACTION.sub(_brace_fraction, text)
    text = _HALF_BARE_FRACTION.sub(r"\1{\2}", text)
    return text.rstrip(".,;")


def split_unit(text: str) -> tuple[str, str]:
    r"""A quantity's text and its trailing ``\text{...}`` unit, "" when there is none.

    Only what follows a digit, a brace or a bracket is a unit: ``\text{C}`` alone is an answer.
    """
    value, unit = _strip_math_delimiters(text.strip()), ""
    while match := _TRAILING_TEXT.search(value):
        before = _strip_spacing(value[: match.start()])
        is_unit = re.search(r"[0-9]", before) and match[1].strip().lower() not in _NOT_UNITS
        if not is_unit:
            break
        value, unit = before, match[1] + match[2] + unit
    return value, unit.strip()


def split_elements(text: str) -> Elements | None:
    """The members of canonical ``text``; None when it is one thing."""
    opening, closing, inside = _strip_brackets(text)
    members = _split_top_level(inside, LIST_SEPARATOR)
    if len(members) == 1:
        members = _split_top_level(inside, ",")
    if len(members) == 1 and opening != "\\{":
        return None
    return Elements(opening, closing, tuple(members))


def unwrap_text_commands(text: str) -> str:
    r"""``\text{cm}`` to ``cm``, for every text command whose brace closes."""
    return re.sub(_TEXT.pattern + r"([^{}]*)\}", r"\1", text)


def _brace_fraction(match: re.Match[str]) -> str:
    return rf"\frac{{{match[1]}}}" + (f"{{{match[2]}}}" if match[2] else "")


def _strip_math_delimiters(text: str) -> str:
    for opening, closing in _MATH_DELIMITERS:
        is_wrapped = text.startswith(opening) and text.endswith(closing)
        if is_wrapped and len(text) >= len(opening) + len(closing):
            return text[len(opening) : len(text) - len(closing)].strip()
    return text


def _strip_spacing(text: str) -> str:
    return re.sub(r"(?:\\[,;:! ]|~|\s)+$", "", text)


def _strip_brackets(text: str) -> tuple[str, str, str]:
    for opening, closing in (*_INTERVAL_BRACKETS, *_SET_BRACKETS):
        if not (text.startswith(opening) and text.endswith(closing)):
            continue
        inside = text[len(opening) : len(text) - len(closing)]
        if _is_balanced(inside):
            is_set = (opening, closing) in _SET_BRACKETS
            return ("\\{", "\\}", inside) if is_set else (opening, closing, inside)
    return "", "", text


def _is_balanced(text: str) -> bool:
    depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if depth < 0:
            return False
    return depth == 0


def _split_top_level(text: str, separator: str) -> list[str]:
    members, depth, start = [], 0, 0
    for index, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == separator and depth == 0:
            members.append(text[start:index])
            start = index + 1
    members.append(text[start:])
    return [member for member in members if member]
