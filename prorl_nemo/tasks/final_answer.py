"""Where a response says its answer: what follows the reasoning, and the last box in it.

Only strings are searched here, with `str.rfind` and one scan over the box, so the cost does
not grow with the work a verifier would do on the reasoning. Nothing is parsed or evaluated.
"""

from __future__ import annotations

import re

THINK_OPEN = "<think>"
THINK_CLOSE = "</think>"
BOX_COMMANDS = ("\\boxed", "\\fbox")
MAX_ANSWER_CHARS = 2_000
"""A longer box is not an answer to a problem with a short reference answer."""
MAX_NEIGHBOURS = 20
MAX_SEPARATOR_CHARS = 60

# A braced body, or the token up to white space or the end of the formula.
_BOX_BODY = re.compile(r" *(?:\{|(?P<token>[^\s{}$\\]+))")
_SEPARATOR = re.compile(
    r"(?:[\s,;$]|\\[()\[\],;: ]|\\q?quad|\\text\{\s*(?:and|or)?,?\s*\}|\b(?:and|or)\b)*"
)


def text_after_reasoning(response: str) -> str | None:
    """What follows the last ``</think>``; None when reasoning was opened and never closed.

    A response without either tag comes from a model that does not mark its reasoning, and
    is returned whole.
    """
    close = response.rfind(THINK_CLOSE)
    tail = response if close < 0 else response[close + len(THINK_CLOSE) :]
    return None if THINK_OPEN in tail else tail


def last_boxed_answers(text: str) -> tuple[str, ...]:
    r"""The content of the last ``\boxed{...}`` (or ``\boxed 7``), after those of its neighbours.

    The last member is the answer. Boxes are neighbours when nothing but punctuation, "and" or
    "or" stands between them: together they state a list. Empty when there is no box, or the
    last one is empty, not closed or longer than `MAX_ANSWER_CHARS`: a truncated last answer is
    not replaced by an earlier one.
    """
    contents: list[str] = []
    next_start = len(text)
    while len(contents) < MAX_NEIGHBOURS:
        start, command = max((text.rfind(box, 0, next_start), box) for box in BOX_COMMANDS)
        box = _read_box(text, start + len(command)) if start >= 0 else None
        if box is None:
            break
        content, end = box
        if contents and not _is_separator(text[end:next_start]):
            break
        contents.append(content)
        next_start = start
    return tuple(reversed(contents))


def last_boxed_answer(text: str) -> str | None:
    """The content of the last box, or None: `last_boxed_answers` without the neighbours."""
    return (last_boxed_answers(text) or (None,))[-1]


def find_closing_brace(text: str, start: int) -> int | None:
    r"""The index of the brace that closes ``text[start]``, which is "{"; ``\{`` does not count."""
    depth = 0
    index = start
    while index < len(text):
        character = text[index]
        if character == "\\":
            index += 1
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return index
        index += 1
    return None


def _read_box(text: str, start: int) -> tuple[str, int] | None:
    """What the box whose command ends at ``start`` holds, and where it ends."""
    # The slice bounds the scan: what does not fit in it is not an answer.
    body = text[start : start + MAX_ANSWER_CHARS + 3]
    if not (match := _BOX_BODY.match(body)):
        return None
    if match["token"]:
        return match["token"], start + match.end()
    opening = match.end() - 1
    closing = find_closing_brace(body, opening)
    if closing is None:
        return None
    content = body[opening + 1 : closing].strip()
    return (content, start + closing + 1) if content else None


def _is_separator(text: str) -> bool:
    return len(text) <= MAX_SEPARATOR_CHARS and _SEPARATOR.fullmatch(text) is not None
