"""Checks of how a response is laid out: paragraphs, lists, sections, first and last words.

Each function is one constraint of IFEval (arXiv 2311.07911): the response, then the
constraint's arguments by keyword, under the names its data set uses. All run in time linear
in the response.
"""

from __future__ import annotations

import json
import re

ALLOWED_RESPONSES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_STAR_BULLET = re.compile(r"^[^\S\n]*\*[^*].*", re.MULTILINE)
_DASH_BULLET = re.compile(r"^[^\S\n]*-", re.MULTILINE)
_HIGHLIGHT = re.compile(r"\*([^\n*]*)\*")
_DOUBLE_HIGHLIGHT = re.compile(r"\*\*([^\n*]*)\*\*")
_FENCE = re.compile(r"```(?:json|Json|JSON)?")
_FIRST_WORD = re.compile(r"[^.,?!'\"]*")


def has_number_of_paragraphs(text: str, *, num_paragraphs: int) -> bool:
    """Paragraphs are separated by ``***``; an empty one may only stand at either end."""
    paragraphs = text.split("***")
    if any(not paragraph.strip() for paragraph in paragraphs[1:-1]):
        return False
    return sum(1 for paragraph in paragraphs if paragraph.strip()) == num_paragraphs


def has_nth_paragraph_first_word(
    text: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str
) -> bool:
    """Paragraphs are separated by blank lines; blank paragraphs neither count nor are indexed."""
    paragraphs = [paragraph for paragraph in text.split("\n\n") if paragraph.strip()]
    if len(paragraphs) != num_paragraphs or not 1 <= nth_paragraph <= num_paragraphs:
        return False
    word = paragraphs[nth_paragraph - 1].split(maxsplit=1)[0].lstrip("'").lstrip('"')
    match = _FIRST_WORD.match(word)
    assert match is not None
    return match[0].lower() == first_word.lower()


def has_number_of_placeholders(text: str, *, num_placeholders: int) -> bool:
    """A placeholder is ``[...]`` within one line."""
    return sum(map(_count_bracketed, text.split("\n"))) >= num_placeholders


def has_postscript(text: str, *, postscript_marker: str) -> bool:
    patterns = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    marker = postscript_marker.strip()
    pattern = patterns.get(marker, re.escape(marker.lower()))
    return re.search(pattern, text.lower()) is not None


def has_number_of_bullets(text: str, *, num_bullets: int) -> bool:
    """Bullets are lines that begin with ``*`` (not ``**``) or ``-``."""
    bullets = (*_STAR_BULLET.finditer(text), *_DASH_BULLET.finditer(text))
    return len(bullets) == num_bullets


def is_constrained_response(text: str) -> bool:
    return any(allowed in text for allowed in ALLOWED_RESPONSES)


def has_number_of_highlights(text: str, *, num_highlights: int) -> bool:
    """Counts ``*text*`` and ``**text**``, as IFEval does, each by its own pass."""
    matches = (*_HIGHLIGHT.finditer(text), *_DOUBLE_HIGHLIGHT.finditer(text))
    return sum(1 for match in matches if match[1].strip()) >= num_highlights


def has_number_of_sections(text: str, *, section_spliter: str, num_sections: int) -> bool:
    """A section begins with the splitter and a number: ``SECTION 1``."""
    heading = re.compile(re.escape(section_spliter.strip()) + r"\s?[0-9]+")
    return sum(1 for _ in heading.finditer(text)) >= num_sections


def is_json(text: str) -> bool:
    """The whole response is one JSON value, in a code fence or not."""
    text = text.strip()
    if fence := _FENCE.match(text):
        text = text[fence.end() :]
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def has_title(text: str) -> bool:
    """A title is ``<<text>>`` within one line."""
    return any(map(_line_has_title, text.split("\n")))


def is_two_responses(text: str) -> bool:
    """Two different answers, separated by six asterisks."""
    parts = [part.strip() for part in text.split("******")]
    answers = [part for part in parts if part]
    return all(parts[1:-1]) and len(answers) == 2 and answers[0] != answers[1]


def repeats_prompt(text: str, *, prompt_to_repeat: str) -> bool:
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def ends_with(text: str, *, end_phrase: str) -> bool:
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def is_quoted(text: str) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == '"' and text[-1] == '"'


def _count_bracketed(line: str) -> int:
    count, position = 0, 0
    while (opening := line.find("[", position)) >= 0:
        closing = line.find("]", opening)
        if closing < 0:
            break
        count, position = count + 1, closing + 1
    return count


def _line_has_title(line: str) -> bool:
    start, end = line.find("<<"), line.rfind(">>")
    return 0 <= start < end - 2 and line[start:end].strip("<> \t\r\f\v") != ""
