"""Verifiers' throughput beside the plain library calls, in one run on this machine.

`python -m benchmarks.domains` prints one line a measurement. Rates are of CPU time, on one
core unless said. Responses are written here: reasoning with formulas, then a boxed answer.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from prorl_nemo.tasks.base import Problem
from prorl_nemo.tasks.instructions import InstructionTask
from prorl_nemo.tasks.math import MathTask

RESPONSE_CHARS = 30_000

ANSWERS = (  # reference, answer of the response
    ("42", "42"),
    (r"\frac{3}{7}", r"\dfrac{3}{7}"),
    (r"2\sqrt{3}", r"\sqrt{12}"),
    ("(3, 4)", "(3,4)"),
    (r"x^2+2x+1", r"(x+1)^2"),
    ("10,080", "10080"),
    ("17", "18"),
    (r"\frac{\pi}{4}", r"\frac{\pi}{3}"),
    (r"[0, 1)", r"[0, 1]"),
    ("0.125", r"\frac{1}{8}"),
    ("6 - 5i", "-5i + 6"),
    (r"\begin{pmatrix} 1/2 \\ 3 \end{pmatrix}", r"\begin{pmatrix} 0.5 \\ 3 \end{pmatrix}"),
)
REASONING = (
    "Let me set $x = {i}$ and look at the equation $x^2 - {j}x + {k} = 0$ again. "
    "Its discriminant is \\(\\Delta = {j}^2 - 4 \\cdot {k}\\), so either root is close to "
    "$\\frac{{{j}}}{{2}}$. Hmm, wait. If I substitute back, I get {k} on the left and "
    "{i} on the right, which can't be right, so I made a mistake in the sign. "
)
CONSTRAINTS: tuple[tuple[int, str, dict[str, object]], ...] = (
    # how often IFEval's 541 prompts have it, id, arguments
    (66, "punctuation:no_comma", {}),
    (52, "length_constraints:number_words", {"relation": "at least", "num_words": 300}),
    (52, "length_constraints:number_sentences", {"relation": "less than", "num_sentences": 15}),
    (49, "keywords:forbidden_words", {"forbidden_words": ["never", "always"]}),
    (48, "detectable_format:number_highlighted_sections", {"num_highlights": 3}),
    (42, "keywords:frequency", {"keyword": "river", "frequency": 4, "relation": "at least"}),
    (41, "combination:repeat_prompt", {"prompt_to_repeat": "Describe the river."}),
    (41, "startend:quotation", {}),
    (39, "change_case:english_lowercase", {}),
    (39, "keywords:existence", {"keywords": ["river", "mountain"]}),
    (37, "detectable_format:title", {}),
    (
        33,
        "keywords:letter_frequency",
        {"letter": "q", "let_frequency": 9, "let_relation": "at least"},
    ),
    (31, "detectable_format:number_bullet_lists", {"num_bullets": 3}),
    (31, "language:response_language", {"language": "en"}),
    (27, "detectable_content:number_placeholders", {"num_placeholders": 2}),
    (27, "length_constraints:number_paragraphs", {"num_paragraphs": 5}),
    (26, "startend:end_checker", {"end_phrase": "That is all."}),
    (26, "detectable_content:postscript", {"postscript_marker": "P.S."}),
    (25, "change_case:english_capital", {}),
    (
        25,
        "change_case:capital_word_frequency",
        {"capital_relation": "at least", "capital_frequency": 9},
    ),
    (24, "combination:two_responses", {}),
    (17, "detectable_format:json_format", {}),
    (14, "detectable_format:multiple_sections", {"section_spliter": "SECTION", "num_sections": 3}),
    (
        12,
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 3, "nth_paragraph": 1, "first_word": "the"},
    ),
    (10, "detectable_format:constrained_response", {}),
)
NUM_IFEVAL_PROMPTS = 541
PARAGRAPH = (
    "The river runs down from the mountain to the sea and nobody knows its age. "
    "In spring the water rises, and the OLD bridge has to be closed for a week or two. "
    "* A path leads along it to [village].\n\n"
)


@dataclass(frozen=True)
class Throughput:
    """Responses a second of ours and, where there is a peer, of the plain library call."""

    name: str
    responses_per_second: float
    peer_responses_per_second: float | None = None

    def __str__(self) -> str:
        text = f"{self.name}: {self.responses_per_second:,.0f} responses/s"
        if self.peer_responses_per_second is None:
            return text
        ratio = self.responses_per_second / self.peer_responses_per_second
        return f"{text}, plain library {self.peer_responses_per_second:,.0f}/s, ratio {ratio:.1f}"


def measure_math(*, num_rounds: int = 10) -> Throughput:
    """`MathTask` against math-verify called on the same whole responses of 30k characters."""
    import math_verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    cases = [
        (reference, make_math_response(answer, seed=number))
        for number, (reference, answer) in enumerate(ANSWERS * num_rounds)
    ]
    problems = [
        Problem(f"math/{number}", "math", "?", reference)
        for number, (reference, _) in enumerate(cases)
    ]
    task = MathTask("math", problems)

    def score_ours(index: int) -> None:
        task.score(problems[index], cases[index][1])

    def score_peer(index: int) -> None:
        reference, response = cases[index]
        math_verify.verify(
            math_verify.parse(f"\\boxed{{{reference}}}"), math_verify.parse(response)
        )

    # The imports and first calls of either side are no part of its rate.
    score_ours(0)
    score_peer(0)
    return Throughput(
        "math, 30k-character responses",
        measure_rate(score_ours, len(cases)),
        measure_rate(score_peer, len(cases)),
    )


def measure_instructions(*, num_paragraphs: int = 8) -> Throughput:
    """`InstructionTask` on IFEval's mix of constraints, responses of about 1,600 characters.

    A response to a case constraint has that case, so that its language is looked at too.
    """
    constraints = [entry[1:] for entry in CONSTRAINTS for _ in range(entry[0])]
    random.Random(0).shuffle(constraints)
    problems = [
        _make_instruction_problem(number, constraints[number::NUM_IFEVAL_PROMPTS])
        for number in range(NUM_IFEVAL_PROMPTS)
    ]
    task = InstructionTask("instructions", problems)
    responses = [_make_instruction_response(problem, num_paragraphs) for problem in problems]

    def score(index: int) -> None:
        task.score(problems[index], responses[index])

    for index in range(50):
        score(index)
    return Throughput("instruction following, one core", measure_rate(score, len(problems)))


def measure_instructions_on_cores(num_cores: int = 2) -> Throughput:
    """`measure_instructions` in ``num_cores`` processes at the same time, their rates added."""
    with ProcessPoolExecutor(num_cores) as pool:
        runs = [pool.submit(measure_instructions) for _ in range(num_cores)]
        rate = sum(run.result().responses_per_second for run in runs)
    return Throughput(f"instruction following, {num_cores} cores", rate)


def measure_rate(call: Callable[[int], None], num_calls: int) -> float:
    """Calls a second of CPU time of this process: other work on the machine does not count."""
    started = time.process_time()
    for index in range(num_calls):
        call(index)
    return num_calls / (time.process_time() - started)


def make_math_response(answer: str, *, seed: int) -> str:
    """Reasoning of `RESPONSE_CHARS` characters, different for each ``seed``, then the box."""
    parts: list[str] = []
    num_chars = 0
    while num_chars < RESPONSE_CHARS:
        i = seed + len(parts)
        parts.append(REASONING.format(i=i, j=2 * i + 1, k=i * i % 97))
        num_chars += len(parts[-1])
    return f"<think>{''.join(parts)}</think>Therefore the answer is $\\boxed{{{answer}}}$."


def _make_instruction_response(problem: Problem, num_paragraphs: int) -> str:
    text = f"Number {problem.problem_id}. " + PARAGRAPH * num_paragraphs
    ids = str(problem.metadata["instruction_id_list"])
    if "english_capital" in ids:
        text = text.upper()
    if "english_lowercase" in ids:
        text = text.lower()
    return f"<think>It has to follow.</think>{text}"


def _make_instruction_problem(
    number: int, constraints: Sequence[tuple[str, dict[str, object]]]
) -> Problem:
    metadata = {
        "instruction_id_list": [constraint_id for constraint_id, _ in constraints],
        "kwargs": [arguments for _, arguments in constraints],
    }
    return Problem(f"if/{number}", "instructions", "?", "", metadata)


if __name__ == "__main__":
    print(measure_math())
    print(measure_instructions())
    print(measure_instructions_on_cores())
