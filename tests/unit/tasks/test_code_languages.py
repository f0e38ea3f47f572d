"""Languages other than Python, registered as a user would."""

import shutil

import pytest

from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.tasks.code import CodeTask
from prorl_nemo.tasks.code_languages import Language, get_language, register_language
from prorl_nemo.tasks.reward_pool import RewardPool
from prorl_nemo.tasks.sandbox_probe import check_sandbox

STATUS = check_sandbox()
needs_sandbox = pytest.mark.skipif(not STATUS.is_usable, reason=STATUS.message)


def adding_problem(language: str) -> Problem:
    tests = {"inputs": ["2 3\n", "10 20\n", "-1 1\n"], "outputs": ["5\n", "30\n", "0"]}
    return Problem("p", "code", "Add.", "", {"tests": tests, "language": language})


def fenced(program: str, tag: str) -> str:
    return f"```{tag}\n{program}\n```"


@needs_sandbox
def test_a_registered_language_is_compiled_and_run_in_workers_too() -> None:
    shell = Language(
        name="shell-for-this-test",
        fence_tags=frozenset(("sh", "bash")),
        file_name="main.sh",
        compile=("sh", "-n", "main.sh"),
        run=("sh", "main.sh"),
    )
    register_language(shell)
    adding = adding_problem(shell.name)
    answers = [
        fenced("read a b\necho $((a + b))", "bash"),
        fenced("echo 5", "sh"),
        fenced("if then (", "sh"),
        fenced("print(5)", "python"),
    ]
    with RewardPool([CodeTask("code", [adding])], num_workers=1) as pool:
        scores = pool.score_all([(adding, answer) for answer in answers])
    assert scores == [Score(1.0), Score(1 / 3), Score(0.0), Score(0.0)]
    with pytest.raises(ValueError, match="registered already"):
        register_language(shell)
    call_tests = {"fn_name": "add", "inputs": [[1, 2]], "outputs": [3]}
    call = Problem("p", "code", "", "", {"tests": call_tests, "language": shell.name})
    with pytest.raises(ValueError, match="p: only Python functions can be called"):
        CodeTask("code", [call])


@needs_sandbox
@pytest.mark.skipif(shutil.which("g++", path="/usr/bin") is None, reason="needs g++")
def test_a_compiled_language_fits_into_the_limits() -> None:
    cpp = Language(
        name="cpp-for-this-test",
        fence_tags=frozenset(("cpp", "c++")),
        file_name="main.cpp",
        compile=("g++", "-o", "main", "main.cpp"),
        run=("./main",),
    )
    register_language(cpp)
    adding = adding_problem(cpp.name)
    program = (
        "#include <iostream>\n"
        "int main() { long a, b; std::cin >> a >> b; std::cout << a + b << std::endl; }"
    )
    task = CodeTask("code", [adding])
    assert task.score(adding, fenced(program, "cpp")) == Score(1.0)
    assert task.score(adding, fenced(program.replace("long", "lon"), "cpp")) == Score(0.0)


def test_a_language_without_a_command_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a command that runs it"):
        register_language(Language("empty-for-this-test", frozenset(("x",)), "main.x"))


def test_an_unknown_language_is_named() -> None:
    with pytest.raises(ValueError, match=r"unknown language 'cobol'; known: .*python"):
        get_language("cobol")
