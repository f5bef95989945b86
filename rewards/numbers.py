"""Reads numbers exactly: integers, decimals, fractions, mixed numbers, percentages, powers of ten, thousands separators."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction

RELATIVE_TOLERANCE = Fraction(1, 10**6)
"""largest relative difference between a decimal and a gold value that is not an integer"""

_PLAIN = r"(?:\d+(?:\.\d*)?|\.\d+)"
_EXPONENT = r"(?:[eE](?P<e>[+-]?\d{1,3})|(?:\\times|\\cdot|×|\*)10\^(?:\{(?P<p>[+-]?\d{1,3})\}|(?P<q>\d)))"
_DECIMAL = re.compile(
    rf"(?P<sign>[+-]?)(?P<mantissa>\d{{1,3}}(?:,\d{{3}})+(?:\.\d*)?|{_PLAIN})(?:{_EXPONENT})?(?P<percent>%?)"
)
_RATIO = re.compile(
    rf"(?P<sign>[+-]?)(?:(?P<a>{_PLAIN})/(?P<b>{_PLAIN})|\\frac\{{(?P<c>[+-]?{_PLAIN})\}}\{{(?P<d>[+-]?{_PLAIN})\}})(?P<percent>%?)"
)

_MIXED = re.compile(
    r"(?P<sign>[+-]?)(?P<whole>\d+)"
    r"(?: (?P<a>\d+) ?/ ?(?P<b>\d+)| ?\\frac ?\{ ?(?P<c>\d+) ?\} ?\{ ?(?P<d>\d+) ?\}) ?(?P<percent>%?)"
)
_REPEATING = re.compile(
    r"(?P<sign>[+-]?)(?P<whole>\d*)\.(?P<once>\d*)(?:\\(?:overline|bar)\{(?P<again>\d+)\}|\\dot\{?(?P<digit>\d)\}?)"
)
_BLANK_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?![\d ])")
_APART = re.compile(r"(?<![\d._^])\d[\d.]* +[\d.]")
_BASED = re.compile(r"\(?([0-9][0-9A-Za-z]*)\)?_\{?(\d{1,2})\}?")


@dataclass(frozen=True, slots=True)
class WrittenNumber:
    """A number, and how it was written."""

    value: Fraction
    """the value as written: 62.5 for 62.5%"""
    percent: bool
    decimal: bool
    """whether it has a decimal point, so that it may be rounded"""

    def times(self, scale: Fraction) -> WrittenNumber:
        return replace(self, value=self.value * scale)


def parse_number(text: str) -> WrittenNumber | None:
    """Return the number if all of `text` is one number, else None.

    A blank between an integer and a fraction makes a mixed number. Blanks before groups of three digits separate thousands.
    Any other blank between digits separates two numbers, so the result is None. Blanks at other places are ignored.
    """
    text = text.strip()
    if match := _MIXED.fullmatch(text):
        return _mixed(match)
    text = join_thousands(text)
    if has_numbers_apart(text):
        return None
    text = text.replace(" ", "")
    if match := _DECIMAL.fullmatch(text):
        mantissa = match["mantissa"].replace(",", "")
        exponent = int(match["e"] or match["p"] or match["q"] or 0)
        value = Fraction(mantissa.rstrip(".")) * Fraction(10) ** exponent
    elif match := _REPEATING.fullmatch(text):
        return _repeating(match)
    elif match := _RATIO.fullmatch(text):
        numerator, denominator = match["a"] or match["c"], match["b"] or match["d"]
        divisor = Fraction(denominator.rstrip("."))
        if divisor == 0:
            return None
        value = Fraction(numerator.rstrip(".")) / divisor
    else:
        return None
    return WrittenNumber(-value if match["sign"] == "-" else value, bool(match["percent"]), "." in text)


def join_thousands(text: str) -> str:
    """Return `text` with the blanks removed from numbers like `12 345 678`."""
    return _BLANK_THOUSANDS.sub(lambda number: number.group().replace(" ", ""), text)


def has_numbers_apart(text: str) -> bool:
    """Return whether `text` has two numbers with only blanks between them. Algebra would read them as one number."""
    return _APART.search(text) is not None


def parse_based(text: str) -> tuple[str, int] | None:
    """Return the digits and the base of a number like `120_3` or `1A_{16}`; None if `text` is something else."""
    if match := _BASED.fullmatch(text.replace(" ", "")):
        return match[1].upper().lstrip("0") or "0", int(match[2])
    return None


def _repeating(match: re.Match[str]) -> WrittenNumber:
    r"""Return the value of `0.1\overline{6}`, exactly."""
    once, again = match["once"], match["again"] or match["digit"]
    period = Fraction(int(again), 10 ** len(again) - 1)
    value = int(match["whole"] or 0) + (int(once or 0) + period) / 10 ** len(once)
    return WrittenNumber(-value if match["sign"] == "-" else value, percent=False, decimal=False)


def _mixed(match: re.Match[str]) -> WrittenNumber | None:
    top, bottom = int(match["a"] or match["c"]), int(match["b"] or match["d"])
    if top >= bottom:
        return None
    value = int(match["whole"]) + Fraction(top, bottom)
    return WrittenNumber(-value if match["sign"] == "-" else value, bool(match["percent"]), decimal=False)


def numbers_equal(answer: WrittenNumber, gold: WrittenNumber) -> bool:
    """Return whether an answer's number agrees with the gold number.

    They must be equal if the gold value is an integer, or if neither has a decimal point. Otherwise they may differ by
    `RELATIVE_TOLERANCE`. If only one is a percentage, 62.5% agrees with both 62.5 and 0.625.
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
