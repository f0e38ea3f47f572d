"""Values of LaTeX expressions at sample points."""

import threading
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prorl_nemo.tasks.point_evaluation import compare_at_points


def compare(reference: str, answer: str) -> bool | None:
    return compare_at_points(reference, answer, relative_tolerance=Fraction(1, 10**6))


@pytest.mark.parametrize(
    ("reference", "answer", "verdict"),
    [
        (r"2\sqrt{3}", r"\sqrt{12}", True),
        (r"\frac{1}{\sqrt2}", r"\frac{\sqrt{2}}{2}", True),
        (r"(x+1)^2", r"x^{2}+2x+1", True),
        (r"x^2-y^2", r"(x-y)(x+y)", True),
        (r"\sqrt[3]{8}\pi", r"2\pi", True),
        (r"e^{2x}", r"(e^x)^2", True),
        (r"-x^2", r"-(x^2)", True),
        (r"-x^2", r"(-x)^2", False),
        (r"5!", "120", True),
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}", False),  # both round to zero
        (r"\frac{\pi}{4}", r"\frac{\pi}{3}", False),
        (r"x_1+x_{2}", r"x_2+x_{1}", True),
        ("x+1", "y+1", False),
        (r"\sqrt{2}", "1.4142136", True),
        (r"\sqrt{2}", "1.414", False),
        (r"e^{\pi\sqrt{163}}", "262537412640768744", False),  # differ from the 30th digit on
    ],
)
def test_decided(reference: str, answer: str, verdict: bool) -> None:
    assert compare(reference, answer) is verdict


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        (r"\sqrt{x^2}", "x"),  # |x|
        ("1/2x", "0.5x"),  # or 1/(2x)
        ("f(x+1)", "fx+f"),  # a function
        ("1+i", "1+i"),
        ("1e-3x", "ex-3x"),
        (r"3x\frac{1}{2}y!!^2", "1"),
        (r"3\frac{1}{2}x", "3.5x"),  # a mixed number
        (r"\pm 1", "1"),
        ("x=1", "1"),
        ("9^{9^{9^{9}}}", "1"),
        ("(10^{10})!", "1"),
        ("1/0", "1"),
        (r"\sqrt[0]{2}", "1"),
        (r"\sqrt{2}+\sqrt{3}-\sqrt{5+2\sqrt{6}}", "0"),  # zero by cancellation
        ("(" * 200 + "1" + ")" * 200, "1"),
        ("", "1"),
    ],
)
def test_undecided(reference: str, answer: str) -> None:
    assert compare(reference, answer) is None


@settings(deadline=None)
@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 9))
def test_expanded_products(a: int, b: int, k: int) -> None:
    product = f"({k}x{a:+d})(x{b:+d})"
    expanded = f"{k}x^2{k * b + a:+d}x{a * b:+d}"
    assert compare(product, expanded) is True
    assert compare(product, expanded + "+1") is False


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="\\frcsqt{}()[]^!+-*/0123456789.xye", max_size=60))
def test_any_text_is_decided_quickly_or_not_at_all(text: str) -> None:
    started = time.process_time()
    assert compare(text, r"\frac{x}{7}") in (True, False, None)
    assert time.process_time() - started < 1.0


def test_threads_do_not_share_precision() -> None:
    verdicts: list[bool | None] = []

    def work() -> None:
        for _ in range(30):
            verdicts.append(compare(r"e^{\pi\sqrt{163}}", "262537412640768744"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts == [False] * 120
