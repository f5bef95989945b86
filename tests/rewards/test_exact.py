"""Values that differ are different however small they are; equal ones are equal in any form."""

import pytest

from rewards.verification import verify


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        (r"\frac{1}{2^{60}}", r"\frac{1}{2^{59}}"),
        ("2^{-60}", "2^{-59}"),
        ("0", "2^{-60}"),
        ("2^{-60}", "0"),
        (r"\frac{1}{20!}", r"\frac{1}{22!}"),
        (r"\frac{1}{60!}", r"\frac{1}{61!}"),
        (r"\frac{2^{2005}+1}{3\cdot 2^{2006}}", r"\frac{1}{3\cdot 2^{2006}}"),
        ("1+2^{-80}", "1"),
        ("e^{-200}", "e^{-201}"),
        (r"\pi^{-60}", r"\pi^{-61}"),
        (r"0.0000001\pi", r"0.0000002\pi"),
        (r"\sqrt{2}\times 10^{-8}", "3.1e-8"),
        ("2^{-60}x", "2^{-59}x"),
        ("2^{-60}i", "2^{-59}i"),
        ("(2^{-60},1)", "(2^{-59},1)"),
        (r"\{2^{-60},1\}", r"\{2^{-59},1\}"),
        ("[0,2^{-60}]", "[0,2^{-59}]"),
        ("x=2^{-60}", "x=2^{-59}"),
        ("x>2^{-60}", "x>2^{-59}"),
        ("x=2^{-60}", "2^{-59}"),
        (r"\begin{pmatrix}2^{-60}\\1\end{pmatrix}", r"\begin{pmatrix}2^{-59}\\1\end{pmatrix}"),
    ],
)
def test_different_values_are_different_however_small(answer: str, gold: str) -> None:
    assert verify(answer, gold) is False


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        (r"\frac{1}{2^{60}}", "2^{-60}"),
        (r"\frac{1}{60!}", r"\frac{61}{61!}"),
        ("e^{-200}", r"\frac{1}{e^{200}}"),
        (r"1.41421356\times 10^{-8}", r"\sqrt{2}\times 10^{-8}"),
        ("2^{-60}x", r"\frac{x}{2^{60}}"),
        (r"\sqrt{2}+\sqrt{3}", r"\sqrt{5+2\sqrt{6}}"),
        (r"\{2^{-60},1\}", r"\{1,\frac{1}{2^{60}}\}"),
        ("-x<-2", "x>2"),
        (r"\sin^2 x + \cos^2 x", "1"),
    ],
)
def test_equal_values_are_equal_in_any_form(answer: str, gold: str) -> None:
    assert verify(answer, gold)
