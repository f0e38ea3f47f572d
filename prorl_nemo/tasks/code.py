"""The code domain: a program in a fenced block, run on all of a problem's tests.

The reward is the fraction of tests passed, 0 on a compile error or beyond the total time
limit (ProRL, arXiv 2505.24864, section 3.2). Model code runs in a sandbox only.
"""

from __future__ import annotations

from collections.abc import Sequence

from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.tasks.code_grading import grade_program
from prorl_nemo.tasks.code_languages import PYTHON, Language, get_language
from prorl_nemo.tasks.code_tests import CodeTests, StdinTests, parse_tests
from prorl_nemo.tasks.final_answer import text_after_reasoning
from prorl_nemo.tasks.sandbox import Sandbox
from prorl_nemo.tasks.sandbox_probe import require_sandbox

FENCE = "```"


class CodeTask:
    """Problems whose metadata holds ``tests`` (see `parse_tests`) and maybe ``language``.

    Making one checks all problems (ValueError names the first malformed one) and the
    sandbox (SandboxError, with instructions, if there is none). ``score`` raises
    SandboxError too, should the isolation fail later: a 0 would blame the model for it.
    """

    needs_isolation = True

    def __init__(
        self, name: str, problems: Sequence[Problem], *, sandbox: Sandbox | None = None
    ) -> None:
        self.name = name
        self._problems = problems
        self._sandbox = sandbox or Sandbox()
        # Kept here, so that workers know languages that only this process has registered.
        self._languages = {language.name: language for language, _ in map(read_problem, problems)}
        require_sandbox(self._sandbox)

    def __len__(self) -> int:
        return len(self._problems)

    def __getitem__(self, index: int) -> Problem:
        return self._problems[index]

    def score(self, problem: Problem, response: str) -> Score:
        """Run the last program of ``response`` on every test of ``problem``."""
        name = language_name(problem)
        language = self._languages.get(name) or get_language(name)
        tests = parse_tests(problem.metadata.get("tests"), where=problem.problem_id)
        text = text_after_reasoning(response)
        if text is None:
            return Score(0.0, "truncated_reasoning")
        program = extract_program(text, language)
        if program is None:
            return Score(0.0)
        return grade_program(program, tests, language=language, sandbox=self._sandbox)


def read_problem(problem: Problem) -> tuple[Language, CodeTests]:
    """The language and the tests of ``problem``; ValueError names the problem."""
    tests = parse_tests(problem.metadata.get("tests"), where=problem.problem_id)
    language = get_language(language_name(problem))
    if language.run and not isinstance(tests, StdinTests):
        raise ValueError(f"{problem.problem_id}: only Python functions can be called")
    return language, tests


def language_name(problem: Problem) -> str:
    return str(problem.metadata.get("language", PYTHON.name))


def extract_program(text: str, language: Language) -> str | None:
    """The last closed fenced block tagged as ``language``, else the last without a tag.

    One pass over the lines, so that a giant answer costs no more than its length.
    """
    last: dict[bool, str] = {}
    opened_tag: str | None = None
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        tag = _fence_tag(line)
        if tag is None or (opened_tag is not None and tag):
            lines.append(line)
        elif opened_tag is None:
            opened_tag = tag
            lines = []
        else:
            if not opened_tag or opened_tag in language.fence_tags:
                last[bool(opened_tag)] = "".join(lines)
            opened_tag = None
    return last.get(True, last.get(False))


def _fence_tag(line: str) -> str | None:
    """The word after a fence, "" for a bare one; None for a line that is no fence."""
    stripped = line.strip()
    tag = stripped.removeprefix(FENCE)
    return None if tag == stripped or "`" in tag else tag.strip().lower()
