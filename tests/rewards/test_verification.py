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
        ("x=5", "5"),
        ("5", "x = 5"),
        (r"2.0 \times 10^{3} m", "2e3 m"),
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
        (r"\pm 2", "2,-2"),
        (r"6 \text{ or } 7", "6,7"),
        (r"\{2, 1\}", r"\{1,2\}"),
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


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("3 1/2", "3.5"),
        ("3 1/2", r"\frac{7}{2}"),
        ("7/2", "3 1/2"),
        (r"3\frac{1}{2}", "3.5"),
        (r"3\,\frac{1}{2}", "3.5"),
        (r"3\tfrac12", "3.5"),
        ("3½", "3.5"),
        ("-3 1/2", "-3.5"),
        ("x = 3 1/2", "3.5"),
        (r"2\frac12\text{ hours}", "2.5"),
    ],
)
def test_a_mixed_number_is_its_sum(answer: str, gold: str) -> None:
    assert verify_quickly(answer, gold) is True


def test_a_mixed_number_within_an_expression_is_its_sum() -> None:
    assert verify("3 1/2 x", r"\frac{7}{2} x")
    assert not verify("3 1/2 x", r"\frac{31}{2} x")


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("3 1/2", "15.5"),
        ("15.5", "3 1/2"),
        ("3 1/2", r"\frac{31}{2}"),
        (r"3\frac{1}{2}", "1.5"),
        (r"1 \quad 2", "12"),
        (r"1\qquad 2", "12"),
        ("12", "1 2"),
        ("1 2 3", "123"),
        ("12 34", "1234"),
        (r"\sqrt{2} 3 4", r"34\sqrt{2}"),
    ],
)
def test_numbers_apart_are_not_read_as_one(answer: str, gold: str) -> None:
    assert verify(answer, gold) is False


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("12 345", "12345"),
        (r"12\,345", "12,345"),
        ("12~345", "12345"),
        (r"1,\!234", "1234"),
        (r"1{,}234{,}567", "1234567"),
        ("x = 1,000", "1000"),
        ("{1,000}", "1000"),
        ("1,234, 5,678", "5678, 1234"),
        ("100, 200", "200, 100"),
        (r"1,\quad 2", "1,2"),
        (r"1 \quad 2", "2, 1"),
    ],
)
def test_commas_and_blanks_separate_thousands_or_items(answer: str, gold: str) -> None:
    assert verify_quickly(answer, gold) is True


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("10,1", "1,010"),
        ("1,010", "10,1"),
        ("12,345", "345,12"),
        ("1,23", "123"),
        ("12,34,567", "1234567"),
        ("1,000", "1"),
        ("1, 2", "12"),
        ("x=1,y=2", "2"),
        ("y = 5", "x = 5"),
    ],
)
def test_separators_that_are_not_well_formed_make_no_other_number(answer: str, gold: str) -> None:
    assert verify(answer, gold) is False


def test_a_numbers_base_counts() -> None:
    assert verify_quickly("12_{8}", "12_8") is True
    assert verify_quickly("(12)_8", "12_8") is True
    assert verify_quickly("1a_{16}", "1A_{16}") is True
    assert verify("4210", "4210_7"), "the question names the base"
    for answer in ("12_9", "12_{10}", "13_8"):
        assert verify(answer, "12_8") is False


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("i^2", "-1"),
        ("-1", "i^2"),
        ("(1+i)^2", "2i"),
        ("2i", "(1+i)^2"),
        (r"e^{i\pi}", "-1"),
        ("1/i", "-i"),
        (r"\frac{1+i}{1-i}", "i"),
        (r"\mathrm{i}^2", "-1"),
        ("-i^2 x^2", "x^2"),
        (r"\sqrt{-4}", "2i"),
    ],
)
def test_i_is_the_complex_unit(answer: str, gold: str) -> None:
    assert verify(answer, gold)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("x>5", r"(5,\infty)"),
        ("5<x", r"(5,\infty)"),
        (r"x \ge 5", r"[5,\infty)"),
        (r"x \geqslant 5", r"[5,\infty)"),
        (r"1<x\le 2", "(1,2]"),
        (r"x<1 \text{ or } x>2", r"(-\infty,1)\cup(2,\infty)"),
        (r"x \neq 2", r"(-\infty,2)\cup(2,\infty)"),
        (r"x\in(5,\infty)", "x>5"),
    ],
)
def test_inequalities_and_their_intervals_are_equal_both_ways(first: str, second: str) -> None:
    assert verify(first, second)
    assert verify(second, first)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("i^2", "1"),
        ("i", "-i"),
        ("x>5", r"[5,\infty)"),
        ("x>5", r"(-\infty,5)"),
        ("x<5", r"(5,\infty)"),
        ("1<x<2", "[1,2]"),
        (r"x<1 \text{ or } x>2", r"(-\infty,1]\cup(2,\infty)"),
    ],
)
def test_other_units_and_bounds_are_wrong(answer: str, gold: str) -> None:
    assert not verify(answer, gold)


@pytest.mark.parametrize(
    ("answer", "gold", "equal"),
    [
        (r"\frac{R}{r}", "1", False),
        ("2r", "R+r", False),
        (r"\pi(r^2-R^2)", r"\pi(R^2-r^2)", False),
        ("x^2+y^2=r^2", "x^2+y^2=R^2", False),
        ("2N", "2n", False),
        ("2R", "R+R", True),
        (r"\frac{R}{r}+1", r"\frac{R+r}{r}", True),
        ("BAC", "ABC", False),
        (r"\text{BAC}", r"\text{ABC}", False),
        ("xzy", "xyz", True),
    ],
)
def test_capitals_and_small_letters_are_other_letters(answer: str, gold: str, equal: bool) -> None:
    assert verify(answer, gold) is equal


@pytest.mark.parametrize(
    ("answer", "gold", "equal"),
    [
        ("2:20", "1:10", False),
        ("0:05", "0:50", False),
        ("07:30", "7:30", True),
        ("3:4:5", "3:5:4", False),
        ("1:6", "1:2:3", False),
        ("0:0", "1:2", False),
        ("6:8:10", "3:4:5", True),
        ("2 : 4", "1:2", True),
        ("1:2", r"\frac{1}{2}", True),
    ],
)
def test_colons_are_those_of_ratios_and_times(answer: str, gold: str, equal: bool) -> None:
    assert verify(answer, gold) is equal


@pytest.mark.parametrize(
    ("answer", "gold", "equal"),
    [
        (r"0.\overline{3}", r"\frac{1}{3}", True),
        (r"-0.1\overline{6}", r"-\frac{1}{6}", True),
        (r"12.\dot{3}", r"\frac{37}{3}", True),
        ("0.3", r"0.\overline{3}", False),
        ("50 percent", "0.5", True),
        (r"0.5", r"50 \text{ percent}", True),
        ("500 m^2", "500 cm^2", False),
        ("0.05 m^2", "500 cm^2", True),
        (r"10 \text{ km/h}", r"10 \text{ m/s}", False),
        (r"10 \text{ m/s}", "36 km per hour", True),
        (r"5 \text{ kJ}", r"5 \text{ J}", False),
        ("5 years", "5 days", False),
        ("2 years", "24 months", True),
        ("5 euros", "5 dollars", False),
        ("12 square metres", "12 m^2", True),
        ("60 miles per hour", "60 mph", True),
        ("5 red apples", "5", True),
    ],
)
def test_repeating_decimals_percent_and_compound_units(answer: str, gold: str, equal: bool) -> None:
    assert verify(answer, gold) is equal
