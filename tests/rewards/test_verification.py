"""Answers are compared as text, as numbers and as mathematics."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.verification import MAX_ANSWER_CHARS, verify, verify_quickly


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("42", "42"),
        ("42.", "42"),
        ("$42$", "42"),
        ("25", "025"),
        ("27", "27.0"),
        ("1,234", "1234"),
        (r"1{,}234", "1234"),
        (r"1\,234", "1234"),
        (r"\$18", "18"),
        ("0.5", r"\frac{1}{2}"),
        ("1/2", r"\dfrac{1}{2}"),
        ("0.333333", "1/3"),
        ("62.5", r"62.5\%"),
        ("0.625", "62.5%"),
        (r"8\%", r"$8 \%$"),
        (r"4.5 \times 10^{33}", "4.5e33"),
        (r"50\text{ cm}", "50"),
        (r"50 \mathrm{~cm}^2", "50"),
        (r"90^{\circ}", "90"),
        ("7, -7, 1, -1", "1,-1,7,-7"),
        ("84,69", "$69$,$84$"),
        ("(C)", "C"),
        (r"\text{C}", "C"),
        (r"\textbf{(C)}\ 12", "C"),
        ("C. twelve", "C"),
        ("c", "C"),
        ("yes", "Yes"),
        ("new york", r"\text{New York}"),
        ("−3", "-3"),
        (r"\left(1, 2\right)", "(1,2)"),
    ],
)
def test_equal_answers_are_correct_without_algebra(answer: str, gold: str) -> None:
    assert verify_quickly(answer, gold) is True


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("41", "42"),
        ("", "42"),
        ("42.0000001", "42"),
        ("0.3", "1/3"),
        ("0", "1.3e-27"),
        ("1,2", "1,2,3"),
        ("1,1,2", "1,2,2"),
        ("200,100,5", "100,200"),
        ("D", "C"),
        ("A cat", "A"),
        ("12", "C"),
        (r"5\text{ million}, 6", "5, 6, 7"),
        ("left", "felt"),
        ("1" * (MAX_ANSWER_CHARS + 1), "1" * (MAX_ANSWER_CHARS + 1)),
    ],
)
def test_different_answers_are_not_correct(answer: str, gold: str) -> None:
    assert verify(answer, gold) is False


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        (r"2\sqrt{2}", r"\sqrt{8}"),
        ("(x+1)^2", "x^2+2x+1"),
        ("x=5", "5"),
        ("5", "x = 5"),
        (r"\pm 2", "2,-2"),
        (r"6 \text{ or } 7", "6,7"),
        (r"\{2, 1\}", r"\{1,2\}"),
        (r"2.0 \times 10^{3} m", "2e3 m"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\ 2.0\end{pmatrix}"),
        (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"),
    ],
)
def test_equal_mathematics_is_correct(answer: str, gold: str) -> None:
    assert verify_quickly(answer, gold) is None
    assert verify(answer, gold)


@pytest.mark.parametrize(
    ("answer", "gold"), [(r"\sqrt{2}", r"\sqrt{3}"), ("(2,1)", "(1,2)"), ("[1,2)", "[1,2]"), ("x", "y")]
)
def test_different_mathematics_is_not_correct(answer: str, gold: str) -> None:
    assert not verify(answer, gold)


@given(st.text(st.sampled_from("0123456789.,%/-+eE{}\\frac^$ ()[]timesAx"), max_size=40), st.text(max_size=20))
def test_quick_comparison_never_raises(answer: str, gold: str) -> None:
    assert verify_quickly(answer, gold) in (True, False, None)


@pytest.mark.parametrize(
    "answer", ["\\", "}{", "\\frac{", "\x00", "\ud800", "{" * 200, "\\sqrt" * 300, "$" * 100, "\\boxed{"]
)
def test_comparison_never_raises(answer: str) -> None:
    assert verify(answer, "x+1") is False
