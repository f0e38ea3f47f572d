"""Mathematics: the last boxed answer of a response against a short reference answer."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.tasks.exact_numbers import RELATIVE_TOLERANCE
from prorl_nemo.tasks.final_answer import last_boxed_answers, text_after_reasoning
from prorl_nemo.tasks.math_notation import canonical_answer, split_elements
from prorl_nemo.tasks.optional_library import require_optional
from prorl_nemo.tasks.symbolic_equality import load_verifier
from prorl_nemo.tasks.timed_equality import answers_agree_in_time

DEFAULT_TIME_LIMIT_SECONDS = 5.0


class MathTask:
    """Problems whose ``answer`` is a number or a LaTeX expression; the reward is 0 or 1.

    A response passes when either of two verifiers accepts its answer, as in the paper
    (arXiv 2505.24864, section 3.2): exact notation and rational arithmetic, or math-verify.
    """

    needs_isolation = True

    def __init__(
        self,
        name: str,
        problems: Sequence[Problem],
        *,
        time_limit_seconds: float = DEFAULT_TIME_LIMIT_SECONDS,
    ) -> None:
        require_optional("math_verify")
        self.name = name
        self._problems = problems
        self._time_limit_seconds = time_limit_seconds

    def load_verifier(self) -> None:
        load_verifier()

    def __len__(self) -> int:
        return len(self._problems)

    def __getitem__(self, index: int) -> Problem:
        return self._problems[index]

    def score(self, problem: Problem, response: str) -> Score:
        text = text_after_reasoning(response)
        if text is None:
            return Score(0.0, "truncated_reasoning")
        candidates = answer_candidates(text, problem.answer)
        return score_candidates(
            problem.answer, candidates, time_limit_seconds=self._time_limit_seconds
        )


def answer_candidates(text: str, reference: str) -> tuple[str, ...]:
    """The last box, and for a reference that is a list also its neighbours as one list."""
    boxes = last_boxed_answers(text)
    if not boxes:
        return ()
    is_list = len(boxes) > 1 and split_elements(canonical_answer(reference)) is not None
    return (boxes[-1], " and ".join(boxes)) if is_list else (boxes[-1],)


def score_candidates(
    reference: str,
    candidates: Sequence[str],
    *,
    time_limit_seconds: float,
    relative_tolerance: Fraction = RELATIVE_TOLERANCE,
) -> Score:
    """1 if a candidate states ``reference``. Late is 0, "timeout"; a crash 0, "verifier_error"."""
    try:
        is_correct = any(
            answers_agree_in_time(
                reference,
                candidate,
                relative_tolerance=relative_tolerance,
                time_limit_seconds=time_limit_seconds,
            )
            for candidate in candidates
        )
    except TimeoutError:
        return Score(0.0, "timeout")
    except Exception:  # SymPy raises almost anything on adversarial text
        return Score(0.0, "verifier_error")
    return Score(float(is_correct))
