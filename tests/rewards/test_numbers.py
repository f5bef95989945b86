"""Written numbers are read exactly."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.numbers import numbers_equal, parse_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("025", Fraction(25)),
        ("-1./3", Fraction(-1, 3)),
        ("+2", Fraction(2)),
        (".5", Fraction(1, 2)),
        ("1,234,567.5", Fraction(12345675, 10)),
        ("4.5e33", Fraction(45) * 10**32),
        (r"4.5\times10^{33}", Fraction(45) * 10**32),
        (r"1.3\cdot10^{-27}", Fraction(13, 10**28)),
        (r"\frac{-1}{1997}", Fraction(-1, 1997)),
        (r"-\frac{1}{2}", Fraction(-1, 2)),
    ],
)
def test_numbers_are_exact(text: str, value: Fraction) -> None:
    number = parse_number(text)
    assert number is not None
    assert number.value == value


@pytest.mark.parametrize("text", ["", "x", "1/0", r"\frac{1}{0}", "1,23", "1e9999", "1.2.3", "--1", "2^3", "%"])
def test_anything_else_is_no_number(text: str) -> None:
    assert parse_number(text) is None


@given(st.fractions(max_denominator=10**6))
def test_every_fraction_reads_back(value: Fraction) -> None:
    number = parse_number(str(value))
    assert number is not None
    assert number.value == value


@given(st.integers(), st.integers())
def test_integers_are_equal_only_to_themselves(first: int, second: int) -> None:
    a, b = parse_number(str(first)), parse_number(str(second))
    assert a is not None and b is not None
    assert numbers_equal(a, b) == (first == second)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text", ["7" * 2000 + "/" + "3" * 2000 + "x", "7" * 4000 + "x", r"\frac{" + "7" * 2000 + "}{" + "3" * 2000 + "x"]
)
def test_long_digits_that_are_no_number_are_read_in_linear_time(text: str) -> None:
    """With a regular expression that can split the digits in several ways, one of these takes minutes."""
    assert parse_number(text) is None
