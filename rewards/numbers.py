"""Reading written numbers exactly: integers, decimals, fractions, percentages, powers of ten, thousands separators."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

RELATIVE_TOLERANCE = Fraction(1, 10**6)
"""how far a written decimal may lie from a gold value that is not an integer"""

_PLAIN = r"(?:\d+(?:\.\d*)?|\.\d+)"
_EXPONENT = r"(?:[eE](?P<e>[+-]?\d{1,3})|(?:\\times|\\cdot|×|\*)10\^(?:\{(?P<p>[+-]?\d{1,3})\}|(?P<q>\d)))"
_DECIMAL = re.compile(
    rf"(?P<sign>[+-]?)(?P<mantissa>\d{{1,3}}(?:,\d{{3}})+(?:\.\d*)?|{_PLAIN})(?:{_EXPONENT})?(?P<percent>%?)"
)
_RATIO = re.compile(
    rf"(?P<sign>[+-]?)(?:(?P<a>{_PLAIN})/(?P<b>{_PLAIN})|\\frac\{{(?P<c>[+-]?{_PLAIN})\}}\{{(?P<d>[+-]?{_PLAIN})\}})(?P<percent>%?)"
)


@dataclass(frozen=True, slots=True)
class WrittenNumber:
    """A number and how it was written."""

    value: Fraction
    """as written: 62.5 for 62.5%"""
    percent: bool
    decimal: bool
    """written with a decimal point, so possibly rounded"""


def parse_number(text: str) -> WrittenNumber | None:
    """Return the number that the whole of `text` (without white space) writes, or None if it writes something else."""
    if match := _DECIMAL.fullmatch(text):
        mantissa = match["mantissa"].replace(",", "")
        exponent = int(match["e"] or match["p"] or match["q"] or 0)
        value = Fraction(mantissa.rstrip(".")) * Fraction(10) ** exponent
    elif match := _RATIO.fullmatch(text):
        numerator, denominator = match["a"] or match["c"], match["b"] or match["d"]
        divisor = Fraction(denominator.rstrip("."))
        if divisor == 0:
            return None
        value = Fraction(numerator.rstrip(".")) / divisor
    else:
        return None
    return WrittenNumber(-value if match["sign"] == "-" else value, bool(match["percent"]), "." in text)


def numbers_equal(answer: WrittenNumber, gold: WrittenNumber) -> bool:
    """Whether two written numbers agree.

    Integers and fractions must agree exactly, and so must anything with a gold integer; otherwise a decimal may be off
    by `RELATIVE_TOLERANCE`. A percentage agrees both with its number and with a hundredth of it.
    """
    if _close(answer, gold, Fraction(1)):
        return True
    if answer.percent == gold.percent:
        return False
    return _close(answer, gold, Fraction(1, 100) if answer.percent else Fraction(100))


def _close(answer: WrittenNumber, gold: WrittenNumber, scale: Fraction) -> bool:
    difference = abs(answer.value * scale - gold.value)
    if gold.value.denominator == 1 or not (answer.decimal or gold.decimal):
        return difference == 0
    return difference <= RELATIVE_TOLERANCE * abs(gold.value)
