"""Answers that hang, flood or confuse a grader come back as wrong, and cost no other answer its verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from actors.grading import GradingPool, GradingSettings

GOLD = r"\frac{\sqrt{3}}{3}"


def boxed(answer: str) -> str:
    return rf"The answer is \boxed{{{answer}}}."


def _nested(opening: str, depth: int, closing: str, core: str = "x") -> str:
    return opening * depth + core + closing * depth


def _matrix(rows: int, columns: int) -> str:
    row = " & ".join("1" for _ in range(columns))
    return r"\begin{pmatrix}" + r" \\ ".join(row for _ in range(rows)) + r"\end{pmatrix}"


IN_A_BOX: dict[str, Callable[[], str]] = {
    # towers and powers
    "tower_of_four_nines": lambda: "9^{9^{9^{9}}}",
    "tower_plus_x": lambda: "9^{9^{9^{9}}} + x",
    "tower_modulo": lambda: r"7^{7^{7^{7^{7}}}} \mod 1000",
    "tower_of_forty_twos": lambda: _nested("2^{", 40, "}", "2"),
    "root_of_a_tower": lambda: r"\sqrt{10^{10^{10}}} + \pi",
    "huge_exponent_of_a_fraction": lambda: r"\left(\frac{3}{7}\right)^{10^{9}}",
    "huge_power_of_a_binomial": lambda: "(x+1)^{100000}",
    "huge_power_of_a_sum_of_letters": lambda: "(a+b+c+d+f+g)^{60}",
    "tiny_power": lambda: "10^{-10^{10}}",
    "irrational_tower": lambda: r"\pi^{\pi^{\pi^{\pi^{\pi}}}}",
    "imaginary_tower": lambda: "i^{i^{i^{i}}}^{10^{8}}",
    "negative_tower": lambda: "(-8)^{(1/3)^{99^{99}}}",
    # factorials and products
    "factorial_of_a_billion": lambda: r"(10^{9})! + \sqrt{2}",
    "repeated_factorial": lambda: "((((9!)!)!)!)!",
    "factorial_of_digits": lambda: "9" * 12 + "! + x",
    "binomial_of_millions": lambda: r"\binom{10^{8}}{5 \cdot 10^{7}}",
    "product_of_many": lambda: r"\prod_{n=1}^{10^{9}} (n + x)",
    "double_factorial": lambda: "(10^{7})!! + 1",
    # sums, integrals, limits
    "sum_of_a_trillion": lambda: r"\sum_{n=1}^{10^{12}} \frac{1}{n^3 + n!}",
    "nested_sums": lambda: r"\sum_{a=1}^{999}\sum_{b=1}^{999}\sum_{c=1}^{999}\sum_{d=1}^{999} \frac{1}{a^b + c^d}",
    "endless_integral": lambda: r"\int_{0}^{\infty} \sin(x^{x^{x}}) e^{-x^{\sin x}} dx",
    "nested_integrals": lambda: _nested(r"\int_0^1 ", 12, " dx", r"\tan(\sin(x^x))"),
    "limit_of_a_tower": lambda: r"\lim_{x \to \infty} \frac{x^{x^{x}}}{\Gamma(x^x)}",
    "derivative_of_a_tower": lambda: r"\frac{d}{dx} " + _nested("x^{", 30, "}"),
    "continued_fraction": lambda: _nested(r"\cfrac{1}{1+", 120, "}"),
    "sum_to_infinity": lambda: r"\sum_{k=0}^{\infty} \frac{(-1)^k x^{k^2}}{(k!)^{k!}}",
    # long and deep
    "a_megabyte_of_sums": lambda: "1+" * 600_000 + "x",
    "a_megabyte_of_digits": lambda: "7" * 1_200_000,
    "a_megabyte_of_spaces": lambda: " " * 1_200_000 + "x",
    "four_thousand_digits": lambda: "7" * 4000,
    "four_thousand_digits_over": lambda: "7" * 2000 + "/" + "3" * 2000 + "x",
    "a_sum_of_thousands": lambda: "+".join(f"x_{{{i}}}" for i in range(450)),
    "a_product_of_sums": lambda: "".join(f"(x+{i})" for i in range(400)),
    "deep_braces": lambda: _nested("{", 50_000, "}"),
    "deep_braces_below_the_limit": lambda: _nested("{", 1500, "}"),
    "deep_parentheses": lambda: _nested("(", 1500, ")"),
    "deep_roots": lambda: _nested(r"\sqrt{", 500, "}"),
    "deep_fractions": lambda: _nested(r"\frac{1}{", 400, "}"),
    "deep_sines": lambda: _nested(r"\sin(", 600, ")"),
    "deep_left_right": lambda: _nested(r"\left(", 300, r"\right)"),
    "deep_absolute_values": lambda: "|" * 1500 + "x" + "|" * 1500,
    "deep_exponents": lambda: _nested("x^{", 700, "}"),
    "many_signs": lambda: "-" * 3000 + "1",
    "many_dollars": lambda: "$" * 3000,
    "many_boxes_inside": lambda: _nested(r"\boxed{", 800, "}", "0"),
    # unbalanced and malformed
    "open_fraction": lambda: r"\frac{\sqrt{3}",
    "closed_only": lambda: r"\}\}\}\sqrt{3}",
    "left_without_right": lambda: r"\left(\frac{\sqrt{3}}{3}\left(\left[",
    "commands_without_arguments": lambda: r"\frac\sqrt\frac\sqrt" * 60,
    "backslashes": lambda: "\\" * 3000,
    "environments": lambda: r"\begin{cases}" * 200 + r"\end{cases}" * 200,
    "undefined_commands": lambda: r"\foo{\bar{\baz{1}}}" * 100,
    # sets, matrices, intervals
    "huge_matrix": lambda: _matrix(40, 40),
    "matrix_to_a_power": lambda: _matrix(6, 6) + "^{10^{9}}",
    "matrix_of_towers": lambda: r"\begin{pmatrix}9^{9^{9^{9}}} & x \\ x & (10^9)!\end{pmatrix}",
    "huge_set": lambda: r"\{" + ",".join(str(i) for i in range(900)) + r"\}",
    "set_of_towers": lambda: r"\{" + ",".join("9^{9^{9}}+" + str(i) for i in range(20)) + r"\}",
    "huge_tuple": lambda: "(" + ",".join("x" for _ in range(1500)) + ")",
    "many_unions": lambda: r" \cup ".join(f"({i},{i + 1})" for i in range(250)),
    "interval_of_towers": lambda: "[9^{9^{9}}, 9^{9^{9^{9}}}]",
    "many_relations": lambda: "<".join(f"x_{{{i}}}" for i in range(300)),
    "equation_of_high_degree": lambda: "x^{97} + x^{31} - 7x + 1 = 0",
    # numbers in odd dress
    "repeating_decimal": lambda: r"0.\overline{" + "57735" * 400 + "}",
    "long_decimal_of_the_gold": lambda: "0.5773" + "0" * 3000 + "1",
    "huge_scientific": lambda: "1e999999999",
    "huge_scientific_latex": lambda: r"1 \times 10^{999999999} + x",
    "many_decimal_points": lambda: "1.2" * 1000,
    "many_thousands_separators": lambda: "1" + ",000" * 900 + ",00x",
    "division_by_zero": lambda: r"\frac{1}{0} + \frac{0}{0}",
    "infinity_minus_infinity": lambda: r"\infty - \infty + 0 \cdot \infty",
    # characters
    "fullwidth_digits": lambda: "１／３",
    "cyrillic_look_alikes": lambda: "\\frас{\\ѕqrt{3}}{3}",
    "superscript_digits": lambda: "3⁻¹⸍²" * 50,
    "mathematical_alphanumerics": lambda: "𝟛𝟟𝟜",
    "arabic_digits": lambda: "٣",
    "right_to_left_override": lambda: "\u202e3/3√",
    "combining_marks": lambda: "x" + "\u0301" * 2000,
    "zero_width_spaces": lambda: "\u200b" * 3000 + "1",
    "control_characters": lambda: "\x00\x01\x07\x1b[2J\x7f",
    "lone_surrogate": lambda: "\x00\ud800",
    "line_separators": lambda: "\u2028\x85\n\r" * 500,
    "protocol_injection": lambda: '"]\n1\n["x","x',
    "python_code": lambda: "__import__('os')._exit(0)",
    "sympy_code": lambda: r"\operatorname{eval}(exit())",
}
"""hostile contents of a box"""

WHOLE_TEXTS: dict[str, Callable[[], str]] = {
    "no_box_in_three_megabytes": lambda: "x" * 3_000_000,
    "open_boxes": lambda: r"\boxed{" * 200_000,
    "a_million_backslashes": lambda: "\\" * 1_000_000,
    "box_that_never_closes": lambda: r"\boxed{" + GOLD,
    "closing_braces": lambda: "}" * 1_000_000 + r"\boxed{}",
    "empty_box": lambda: r"\boxed{}",
    "last_of_many_boxes_is_wrong": lambda: boxed(GOLD) * 5_000 + boxed("2"),
}
"""hostile texts around a box, or without one"""


def hostile_texts() -> dict[str, str]:
    inside = {name: boxed(make()) for name, make in IN_A_BOX.items()}
    return inside | {name: make() for name, make in WHOLE_TEXTS.items()}


def test_hostile_answers_are_wrong_and_cost_no_other_answer() -> None:
    texts = hostile_texts()
    good = [boxed(rf"\frac{{{k}}}{{{k}\sqrt{{3}}}}") for k in range(1, len(texts) + 1)]
    pool = GradingPool(GradingSettings(workers=2, timeout_s=1.0, memory_mib=512))
    items = [(text, GOLD) for pair in zip(texts.values(), good, strict=True) for text in pair]
    try:
        verdicts = asyncio.run(pool.grade(items))
    finally:
        pool.close()
    assert len(texts) >= 60
    assert [name for name, verdict in zip(texts, verdicts[::2], strict=True) if verdict.correct] == []
    assert [text for text, verdict in zip(good, verdicts[1::2], strict=True) if not verdict.correct] == []
    assert any(verdict.timed_out for verdict in verdicts[::2])


@pytest.mark.parametrize("name", ["huge_set", "four_thousand_digits_over", "open_boxes", "deep_roots"])
def test_a_hostile_gold_is_matched_by_nothing_else(name: str) -> None:
    """A data set's own gold may be as bad: the pool still answers, and other golds' answers stay correct."""
    pool = GradingPool(GradingSettings(workers=1, timeout_s=1.0, memory_mib=512))
    try:
        hostile = (IN_A_BOX | WHOLE_TEXTS)[name]()
        verdicts = asyncio.run(pool.grade([(boxed(r"\sqrt{2}"), hostile), (boxed(r"\frac{1}{\sqrt{3}}"), GOLD)]))
    finally:
        pool.close()
    assert [verdict.correct for verdict in verdicts] == [False, True]
