"""Languages a code problem may be answered in. A new one is one `register_language` call.

A language says how its fenced code blocks are tagged and how a file of it is compiled and
run inside the sandbox; both commands must exist under /usr there. Python alone is run
by the harness itself, which saves starting an interpreter for every test and allows
function-call problems.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """``fence_tags`` are the lower-case words after ``` that name it; commands run in /tmp."""

    name: str
    fence_tags: frozenset[str]
    file_name: str
    run: tuple[str, ...] = ()
    compile: tuple[str, ...] = ()


PYTHON = Language("python", frozenset(("python", "python3", "py")), "main.py")

_LANGUAGES: dict[str, Language] = {PYTHON.name: PYTHON}


def register_language(language: Language) -> None:
    """Make a language known by its name; ValueError if the name is taken or can't be run."""
    if language.name in _LANGUAGES:
        raise ValueError(f"language {language.name!r} is registered already")
    if not language.run:
        raise ValueError(f"language {language.name!r} needs a command that runs it")
    _LANGUAGES[language.name] = language


def get_language(name: str) -> Language:
    """The language of that name; ValueError names the known ones."""
    if name not in _LANGUAGES:
        raise ValueError(f"unknown language {name!r}; known: {', '.join(sorted(_LANGUAGES))}")
    return _LANGUAGES[name]
