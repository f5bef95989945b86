"""An answer's dress makes no difference: fonts, Markdown, spacing, Unicode. What it says does."""

import pytest

from rewards.characters import in_latex
from rewards.layout import canonical, plain
from rewards.verification import verify, verify_quickly


@pytest.mark.parametrize(
    "answer",
    [
        r"\boldsymbol{12}", r"\bm{12}", r"\mathbf{12}", r"\mathbf 12", r"{\bf 12}", r"\textbf{12}", r"\underline{12}",
        r"\textcolor{red}{12}", r"\color{blue}{12}", "**12**", "**12**.", "*12*", "`12`", r"**$12$**", "{12}", "{{12}}",
        r"\text{12}", "１２", "𝟏𝟐", "12\u200b", r"\left(12\right)", r"\mathbf{\boldsymbol{12}}",
    ],
)  # fmt: skip
def test_a_dressed_number_is_that_number(answer: str) -> None:
    assert verify(answer, "12")
    assert not verify(answer, "21")


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        (r"\mathbf{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boldsymbol{\frac{1}{2}}", "0.5"),
        (r"**\frac{1}{2}**", "0.5"),
        (r"\mathbf{(1,2)}", "(1,2)"),
        (r"\mathbf{\sqrt{x+1}}", r"\sqrt{x+1}"),
        (r"\mathbf{\sqrt{\frac{1}{2}}}", r"\sqrt{\frac12}"),
        (r"\mathbf{x}+\mathbf{y}", "x+y"),
        (r"\alpha\mathbf{x}", r"\alpha x"),
        (r"\frac 1 2", "0.5"),
        (r"\varnothing", r"\emptyset"),
        (r"\emptyset", r"\varnothing"),
        (r"\{\}", r"\varnothing"),
        ("∅", r"\{ \}"),
    ],
)
def test_dressed_mathematics_is_what_it_is_without(answer: str, gold: str) -> None:
    assert verify(answer, gold)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [(r"\boldsymbol{\sqrt{3}}", r"\sqrt{2}"), ("**12**", "21"), (r"\varnothing", "0"), (r"\mathbf{(2,1)}", "(1,2)")],
)
def test_dress_makes_nothing_else_right(answer: str, gold: str) -> None:
    assert not verify(answer, gold)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("–5", "-5"), ("—5", "-5"), ("－5", "-5"), ("x – 5", "x-5"), ("√2", r"\sqrt{2}"), ("2√3", r"2\sqrt{3}"),
        ("√(x+1)", r"\sqrt{x+1}"), ("∛2", r"\sqrt[3]{2}"), ("½", "0.5"), ("3⁄4", "0.75"), ("x²", "x^2"), ("2⁻³", "1/8"),
        ("x⁴+1", "x^4+1"), ("3·10⁸", "3e8"), ("2×3", "6"), ("6÷2", "3"), ("2π", r"2\pi"), ("±2", "2,-2"),
        ("x≥5", r"x \ge 5"), ("(−∞,5)", r"(-\infty,5)"), ("12₈", "12_8"), ("x₁+1", "x_1+1"),
    ],
)  # fmt: skip
def test_unicode_is_read_as_the_latex_that_it_stands_for(answer: str, gold: str) -> None:
    assert verify(answer, gold)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [("–5", "5"), ("x³", "x^2"), ("½", "2"), ("√3", r"\sqrt{2}"), ("√2+1", r"\sqrt{2+1}"), ("2³", "23")],
)
def test_unicode_keeps_its_value(answer: str, gold: str) -> None:
    assert not verify(answer, gold)


@pytest.mark.parametrize("end", [r"\\[4pt]", r"\\[1ex]", r"\\ [0.5em]", r"\\*", r"\\[-2pt]", r"\\[\baselineskip]"])
def test_the_space_after_a_matrix_row_says_nothing(end: str) -> None:
    column = r"\begin{pmatrix}1 " + end + r" 2\end{pmatrix}"
    assert verify(column, r"\begin{pmatrix}1\\2\end{pmatrix}")
    assert not verify(column, r"\begin{pmatrix}2\\1\end{pmatrix}")
    assert not verify(column, r"\begin{pmatrix}1 & 2\end{pmatrix}")


def test_what_is_not_mathematics_stays_as_it_is() -> None:
    assert in_latex("naïve 東京") == "naïve 東京"
    assert plain(canonical(r"\text{New York}")) == "New York"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "{" * 2000 + "}" * 2000, "_" * 4000, "*" * 4000, r"\mathbf{" * 500, r"\mathbf{" * 400 + "}" * 400, "√" * 4000,
        "½" * 500, "\\" * 4000, r"\frac" * 800, r"\text{a}" * 500, "1 " * 2000, "1 000" * 800, "a " * 2000, "1" + "\\,1" * 1300,
        "1,000" * 800, "1" + " m/" * 1000, "{1}" * 1000, r"1}\text{a}" * 400, "x=" * 2000, r"\\[" * 1000, " " * 3000 + "1",
    ],
)  # fmt: skip
def test_hostile_dress_takes_no_time(text: str) -> None:
    """Each is read in some milliseconds; where a pass over the text is repeated for each character, in minutes."""
    for answer in (text, text + "x"):
        assert verify_quickly(answer, "1,234 m") is not True
