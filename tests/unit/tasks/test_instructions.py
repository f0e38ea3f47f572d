"""The 25 IFEval constraints, each followed and broken, and how a response is scored."""

import json

import pytest

from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.tasks.constraints import CONSTRAINTS, make_constraint
from prorl_nemo.tasks.instructions import InstructionTask

pytest.importorskip("nltk")
pytest.importorskip("langdetect")

ENGLISH = "the weather was lovely and the children played in the garden until the evening"
CASES = [  # id, arguments, a text that follows, a text that does not
    ("keywords:existence", {"keywords": ["Apple", "c++"]}, "apple and C++", "apple"),
    (
        "keywords:frequency",
        {"keyword": "ab", "frequency": 2, "relation": "at least"},
        "ab AB",
        "ab a b",
    ),
    ("keywords:forbidden_words", {"forbidden_words": ["part"]}, "party", "a Part of it"),
    (
        "keywords:letter_frequency",
        {"letter": "#", "let_frequency": 4, "let_relation": "at least"},
        "hello #a #b #c #d",
        "### hello",
    ),
    ("language:response_language", {"language": "de"}, "Das Wetter ist heute sehr schön.", ENGLISH),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": "less than"},
        "One sentence.",
        "One is here. Two is here.",
    ),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb", "a***b***c"),
    (
        "length_constraints:number_words",
        {"num_words": 3, "relation": "less than"},
        "two words",
        "now three words",  # "less than" is strict
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "crash"},
        "First paragraph.\n\n\n\n'Crash, is the first word.",  # blank paragraphs do not count
        "Crash first.\n\nThen this.",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] [b]", "[a] [b\n]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\nP. S. More", "ps more"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n\n - b", "* a\n- b\n* c"),
    ("detectable_format:constrained_response", {}, "My answer is maybe.", "maybe"),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        "*one* and *two*",
        "*one* and * *",
    ),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "SECTION", "num_sections": 2},
        "SECTION 1 a SECTION 2 b",
        "SECTION 1 a section 2 b",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": [1]}\n```', "{a: 1}"),
    ("detectable_format:title", {}, "<<A title>>\ntext", "<< >>"),
    ("combination:two_responses", {}, "one ****** two", "one ****** one"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, " say it. Done.", "Done."),
    (
        "startend:end_checker",
        {"end_phrase": "The end."},
        'Thus ends "it. the END."',
        "The end. No.",
    ),
    ("startend:quotation", {}, ' "quoted" ', '"half'),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        "THIS and THAT",
        "THIS and That",
    ),
    ("change_case:english_capital", {}, ENGLISH.upper(), ENGLISH),
    ("change_case:english_lowercase", {}, ENGLISH, ENGLISH.upper()),
    ("punctuation:no_comma", {}, "no comma; none", "a comma, here"),
]


def make_problem(*constraints: tuple[str, dict[str, object] | None]) -> Problem:
    metadata = {
        "instruction_id_list": [constraint_id for constraint_id, _ in constraints],
        "kwargs": [arguments for _, arguments in constraints],
    }
    return Problem("if/0", "instructions", "Do it.", "", metadata)


def test_every_published_constraint_has_a_case() -> None:
    assert [case[0] for case in CASES] == list(CONSTRAINTS)
    assert len(CONSTRAINTS) == 25


@pytest.mark.parametrize(("constraint_id", "arguments", "followed", "broken"), CASES)
def test_constraint(
    constraint_id: str, arguments: dict[str, object], followed: str, broken: str
) -> None:
    constraint = make_constraint(constraint_id, arguments)
    assert constraint.is_followed(followed)
    assert not constraint.is_followed(broken)
    assert not constraint.is_followed(" \n ")


@pytest.mark.parametrize(
    ("constraint_id", "arguments", "message"),
    [
        ("keywords:must_include", {}, "unknown constraint 'keywords:must_include'"),
        ("keywords:existence", {}, "lacks keywords"),
        ("keywords:existence", {"keywords": None}, "lacks keywords"),
        ("keywords:existence", {"keywords": "a"}, "must be a list of texts"),
        ("punctuation:no_comma", {"num": 3}, "does not take num"),
        ("length_constraints:number_words", {"num_words": 1.5, "relation": "at least"}, "whole"),
        ("length_constraints:number_words", {"num_words": 1, "relation": "most"}, "'less than' or"),
    ],
)
def test_what_cannot_be_checked_is_an_error(
    constraint_id: str, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_constraint(constraint_id, arguments)
    with pytest.raises(ValueError, match="if/0: "):
        InstructionTask("if", [make_problem((constraint_id, arguments))])


def test_nulls_of_a_data_frame_are_dropped() -> None:
    arguments = {"num_words": 3.0, "relation": "at least", "keywords": None}
    assert make_constraint("length_constraints:number_words", arguments).is_followed("a b c")


def test_the_reward_is_the_fraction_followed_or_strict() -> None:
    problem = make_problem(
        ("punctuation:no_comma", None), ("startend:quotation", {}), ("detectable_format:title", {})
    )
    fraction = InstructionTask("if", [problem])
    strict = InstructionTask("if", [problem], reward_mode="strict")

    assert fraction.score(problem, '"no comma"').reward == pytest.approx(2 / 3)
    assert strict.score(problem, '"no comma"').reward == 0.0
    assert strict.score(problem, '"<<no comma>>"').reward == 1.0


def test_only_what_follows_the_reasoning_is_graded() -> None:
    problem = make_problem(("punctuation:no_comma", {}))
    task = InstructionTask("if", [problem])

    assert task.score(problem, "<think>Well, I, hm,</think>None here.") == Score(1.0)
    assert task.score(problem, "<think>None here.</think>Well, yes.") == Score(0.0)
    assert task.score(problem, "<think>no commas yet") == Score(0.0, "truncated_reasoning")
    assert task.score(problem, "<think>done</think> ") == Score(0.0)


def test_giant_and_foreign_responses() -> None:
    every = make_problem(*[(case[0], case[1]) for case in CASES])
    task = InstructionTask("if", [every])

    assert task.score(every, "x" * 1_000_000) == Score(0.0, "response_too_long")
    for text in ("\x00\x01\x02", "\ud800", "[" * 5_000, "*" * 5_000, "\n" * 5_000 + "x"):
        assert 0.0 <= task.score(every, text).reward < 1.0
    unknown = Problem("if/9", "if", "p", "", {"instruction_id_list": ["x"], "kwargs": [{}]})
    assert task.score(unknown, "text") == Score(0.0, "invalid_constraints")


def test_one_text_has_one_language() -> None:
    constraint = make_constraint("language:response_language", {"language": "en"})
    assert len({constraint.is_followed("no da si ok hola mi") for _ in range(20)}) == 1


def test_deeply_nested_json_is_no_crash() -> None:
    constraint = make_constraint("detectable_format:json_format", {})
    assert not constraint.is_followed("[" * 100_000)
    assert constraint.is_followed(json.dumps({"a": [1, {"b": None}]}))
