"""Compares what is written with colons: ratios, such as `3:4:5`, and times of day, such as `7:30`."""

from __future__ import annotations

import re
from fractions import Fraction

_RATIO = re.compile(r"\d+(?:\.\d+)?(?::\d+(?:\.\d+)?)+")
_TIME = re.compile(r"(?:[01]?\d|2[0-4]):[0-5]\d")


def ratios_equal(answer: str, gold: str) -> bool | None:
    """Return whether two texts without blanks are equal ratios or the same time; None if one of them is neither.

    `1:10` may be both, and then counts as a time: no other ratio equals it. Algebra would read colons as divisions.
    """
    if not (_RATIO.fullmatch(answer) and _RATIO.fullmatch(gold)):
        return None
    terms, gold_terms = ([Fraction(term) for term in text.split(":")] for text in (answer, gold))
    if terms == gold_terms:
        return True
    if len(terms) != len(gold_terms) or _TIME.fullmatch(gold):
        return False
    return all(a * gold_terms[0] == b * terms[0] for a, b in zip(terms, gold_terms, strict=True)) and any(terms)
