"""Overlap with evaluation sets, and repeated prompts."""

from prorl_nemo.data.decontamination import EvaluationIndex, hash_prompt, normalize_words

LONG = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron"


def test_words_are_compared_without_case_and_punctuation() -> None:
    assert normalize_words("Find $x_1$, (then) STOP!") == ["find", "x", "1", "then", "stop"]


def test_thirteen_shared_words_are_an_overlap_and_twelve_are_not() -> None:
    index = EvaluationIndex({"aime": [LONG]})
    words = LONG.split()
    assert index.find_overlap("Now, " + " ".join(words[1:14]).upper() + "!") == "aime"
    assert index.find_overlap("now " + " ".join(words[1:13]) + " else") is None


def test_a_shorter_problem_overlaps_when_all_of_it_is_there() -> None:
    index = EvaluationIndex({"math": ["How many primes divide ten?"], "tiny": ["Add them"]})
    assert index.find_overlap("Tell me: how many primes divide ten, please") == "math"
    assert index.find_overlap("How many primes divide nine?") is None
    assert index.find_overlap("Add them") is None  # too short to tell


def test_boilerplate_is_no_overlap() -> None:
    boilerplate = "think step by step and put the final answer of it within a box"
    texts = {"aime": [f"How many primes divide ten {boilerplate}"]}
    prompt = f"How many squares divide nine {boilerplate}"
    assert EvaluationIndex(texts).find_overlap(prompt) == "aime"
    assert EvaluationIndex(texts, boilerplate=[boilerplate]).find_overlap(prompt) is None


def test_fingerprint_tells_indexes_apart() -> None:
    first = EvaluationIndex({"a": [LONG]}).fingerprint()
    assert first == EvaluationIndex({"b": [LONG.upper()]}).fingerprint()
    assert first != EvaluationIndex({"a": [LONG + " pi"]}).fingerprint()


def test_prompts_differ_by_signs_but_not_by_case_or_space() -> None:
    assert hash_prompt("What is  2+2?\n") == hash_prompt("what is 2+2?")
    assert hash_prompt("What is 2+2?") != hash_prompt("What is 2-2?")
