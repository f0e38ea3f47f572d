"""Against math-verify itself: the same verdict, except on its known leaks.

Each leak is asserted on both sides, so that a release of math-verify that closes one shows.
"""

import pytest

from prorl_nemo.tasks.math_equality import answers_agree

math_verify = pytest.importorskip("math_verify")

SAME = [
    (r"\frac{3}{7}", r"\dfrac{3}{7}", True),
    (r"2\sqrt{3}", r"\sqrt{12}", True),
    ("(3, 4)", "(3,4)", True),
    ("(3, 4)", "(4,3)", False),
    (r"\{1,2\}", r"\{2,1\}", True),
    (r"x^2+2x+1", r"(x+1)^2", True),
    (r"x^2+2x+1", r"(x-1)^2", False),
    ("17", "18", False),
    (r"[0,1)", r"[0,1]", False),
    (r"\frac{1}{8}", "0.125", True),
    ("6-5i", "-5i+6", True),
    ("6-5i", "6+5i", False),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\3\end{pmatrix}", False),
    (r"(-\infty,2)\cup(3,\infty)", r"(3,\infty)\cup(-\infty,2)", True),
    ("y=2x+1", "y=1+2x", True),
    ("7{,}425{,}000", "7,425,000", True),
    (r"\frac{1}{3}", "0.333333", True),
    (r"1 \pm \sqrt{19}", r"1-\sqrt{19}", False),
    (r"\cot x", r"\frac{\cos x}{\sin x}", True),
    ("35", "35 cm", True),
    ("35", "35x", False),
    ("a+b=c", "c=a+b", True),
    ("x+1=3", "x+2=3", False),
    (r"\mathbb{R}", r"(-\infty,\infty)", True),
    ("x=3", "3", True),
    (r"x \in \{1,2\}", "1,2", True),
    (r"\text{Navin}", r"\text{Evelyn}", False),
]
LEAKS = [  # reference, answer, ours, math-verify's
    (r"\frac{1}{2004!}", r"\frac{1}{2006!}", False, True),
    (r"5.1\times10^{-19}", r"4.7\times10^{-19}", False, True),
    ("203_4", "203_5", False, True),
    (r"10\,080", "10080", True, False),
    ("1000", "1e3", True, False),
]


def ask_math_verify(reference: str, answer: str) -> bool:
    parsed = [math_verify.parse(f"\\boxed{{{text}}}") for text in (reference, answer)]
    return bool(math_verify.verify(*parsed))


@pytest.mark.parametrize(("reference", "answer", "verdict"), SAME)
def test_the_same_verdict(reference: str, answer: str, verdict: bool) -> None:
    assert answers_agree(reference, answer) is verdict
    assert ask_math_verify(reference, answer) is verdict


@pytest.mark.parametrize(("reference", "answer", "ours", "theirs"), LEAKS)
def test_a_known_leak(reference: str, answer: str, ours: bool, theirs: bool) -> None:
    assert answers_agree(reference, answer) is ours
    assert ask_math_verify(reference, answer) is theirs
