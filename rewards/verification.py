"""Decides whether an extracted answer equals the gold answer: as text, then as numbers, then as mathematics."""

from __future__ import annotations

import re
from typing import Literal

from rewards.layout import canonical, plain, squeezed
from rewards.numbers import WrittenNumber, has_numbers_apart, numbers_equal, parse_based, parse_number
from rewards.options import option_letter
from rewards.ratios import ratios_equal
from rewards.symbolic import verify_symbolically
from rewards.units import NO_UNIT, Unit, without_unit

__all__ = ["MAX_ANSWER_CHARS", "AnswerForm", "verify", "verify_quickly", "verify_symbolically"]

AnswerForm = Literal["free", "option"]
"""form of a gold answer: free (mathematics or text), or the letter of a multiple-choice option"""

MAX_ANSWER_CHARS = 4096
"""a longer answer counts as wrong without being read: gold answers are far shorter, and parsing takes more than linear time"""

_WORDS = re.compile(r"[A-Za-z][A-Za-z'-]+(?: [A-Za-z'-]+)*")
_LONG_WORD = re.compile(r"[A-Za-z]{4}|[A-Z]{3}")
"""what is no product of variables, whose letters may stand in any order"""
_ASSIGNED = re.compile(r"\\?[A-Za-z]+(?:_\{?\w+\}?)?(?: ?\([a-z]\))? ?= ?([^=<>]+)")
_SCALES = {"dozen": 12, "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SCALED = re.compile(rf"(.+?) ?({'|'.join(_SCALES)})(?: [A-Za-z]+)?", re.IGNORECASE)
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?%?")
_NUMERIC = re.compile(r"[-+\d.,/%{} ]+")


def verify(answer: str, gold: str, form: AnswerForm = "free") -> bool:
    """Return whether `answer` equals `gold`. Never raises, but symbolic algebra may take any time and memory.

    To bound both, run this function in a process that can be killed.
    """
    decided = verify_quickly(answer, gold, form)
    return verify_symbolically(answer, gold) if decided is None else decided


def verify_quickly(answer: str, gold: str, form: AnswerForm = "free") -> bool | None:
    """Return whether `answer` equals `gold` as text, option letter, number or list of numbers.

    Returns None if only symbolic algebra can decide. A gold option is compared by its letter alone (`option_letter`), and so
    is a free gold that is one capital letter from A to J. The call takes microseconds, and is enough for most answers.
    """
    if len(answer) > MAX_ANSWER_CHARS or not answer.strip():
        return False
    set_answer, set_gold = canonical(answer), canonical(gold)
    plain_answer, plain_gold = plain(set_answer), plain(set_gold)
    if form == "option" or re.fullmatch("[A-J]", plain_gold):
        return option_letter(plain_answer) == option_letter(plain_gold) is not None
    if plain_answer and squeezed(plain_answer) == squeezed(plain_gold):
        return True
    if (equal := _compare_quantities(set_answer, set_gold)) is not None:
        return equal
    if (equal := ratios_equal(squeezed(plain_answer), squeezed(plain_gold))) is not None:
        return equal
    if _WORDS.fullmatch(plain_gold):
        if plain_answer.casefold() == plain_gold.casefold():
            return True
        if _LONG_WORD.search(plain_gold):
            return False
    return None


def _compare_quantities(answer: str, gold: str) -> bool | None:
    """Return whether two numbers or lists of numbers, each with or without a unit, are equal; None if one is something else."""
    (number_answer, unit_answer), (number_gold, unit_gold) = _quantity(answer), _quantity(gold)
    number_answer, number_gold = _unassigned(number_answer, number_gold)
    if unit_answer.conflicts(unit_gold):
        return False
    if unit_answer.is_like(unit_gold) and number_answer and squeezed(number_answer) == squeezed(number_gold):
        return True
    based = parse_based(number_answer), parse_based(number_gold)
    if None not in based:
        return based[0] == based[1]
    answers, golds = _numbers(number_answer), _numbers(number_gold)
    if answers is None or golds is None:
        apart = any(map(has_numbers_apart, (number_answer, number_gold)))
        return False if apart and _NUMERIC.fullmatch(number_answer) and _NUMERIC.fullmatch(number_gold) else None
    scale = unit_answer.in_terms_of(unit_gold)
    return _lists_equal([number.times(scale) for number in answers], golds)


def _quantity(text: str) -> tuple[str, Unit]:
    """Return the text before the unit, and the unit. `12 million` becomes 12000000."""
    if scaled := _SCALED.fullmatch(plain(text)):
        number = parse_number(scaled[1])
        if number is not None:
            return str(number.value * _SCALES[scaled[2].casefold()]), NO_UNIT
    if (said := plain(text)).endswith("%"):  # also where `percent` stands, which is no unit
        return said, NO_UNIT
    before, unit = without_unit(text)
    return plain(canonical(before)), unit


def _unassigned(answer: str, gold: str) -> tuple[str, str]:
    """Return both texts, without `x =` if only one of them has it: `x = 5` equals 5, but `x = 5` does not equal `y = 5`."""
    assigned = _ASSIGNED.fullmatch(answer), _ASSIGNED.fullmatch(gold)
    if assigned[0] and "=" not in gold:
        return assigned[0][1], gold
    if assigned[1] and "=" not in answer:
        return answer, assigned[1][1]
    return answer, gold


def _numbers(text: str) -> list[WrittenNumber] | None:
    """Return the number, or the numbers of a list; None if an item is not a number.

    Commas before groups of three digits, without blanks, separate thousands. All other commas separate items.
    """
    if "," not in text or _THOUSANDS.fullmatch(text):
        number = parse_number(text)
        return None if number is None else [number]
    for separator in (", ", ","):
        items = [parse_number(item) for item in text.split(separator)]
        if None not in items:
            return [item for item in items if item is not None]
    return None


def _lists_equal(answers: list[WrittenNumber], golds: list[WrittenNumber]) -> bool:
    """Return whether the two lists have the same numbers, in any order."""
    rest = list(golds)
    for answer in answers:
        found = next((i for i, gold in enumerate(rest) if numbers_equal(answer, gold)), None)
        if found is None:
            return False
        del rest[found]
    return not rest
