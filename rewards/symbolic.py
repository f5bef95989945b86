"""Compares answers as LaTeX mathematics with math-verify, and adds what it lacks: tiny differences and the complex unit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Any

from rewards.exact import differ
from rewards.layout import canonical, spaced
from rewards.numbers import has_numbers_apart, join_thousands

_SCIENTIFIC = re.compile(r"(\d\.?)[eE]([+-]?\d+)(?![\d.A-Za-z])")
_LETTER = re.compile(r"\\[A-Za-z]+|[A-Za-z]")
"""a command, or one letter outside commands"""
_NAMES = "abcfghjklmnopqrstuvwxyz"
"""letters that stand for nothing but variables"""
_MIXED = re.compile(r"(?<![\d.^_/}])(\d+) (\d+) ?/ ?(\d+)(?![\d.])")


def verify_symbolically(answer: str, gold: str) -> bool:
    """Return whether `answer` equals `gold` as LaTeX mathematics. Never raises, but may hang: math-verify's time-outs are off."""
    from math_verify import LatexExtractionConfig, parse
    from math_verify import verify as math_verify
    from math_verify.errors import TimeoutException

    config = [LatexExtractionConfig(boxed_match_priority=0)]
    try:
        latex = _with_case_kept([_latex(text) for text in (answer, gold)])
        if any(map(has_numbers_apart, latex)):
            return False
        answers, golds = (
            [
                _with_complex_unit(_as_set(parsed))
                for parsed in parse(rf"\boxed{{{text}}}", config, fallback_mode="no_fallback", parsing_timeout=None)
            ]
            for text in latex
        )
        return any(
            math_verify(gold, answer, timeout_seconds=None, allow_set_relation_comp=True)
            and not _surely_differ(answer, gold)
            for answer in answers
            for gold in golds
        )
    except (Exception, TimeoutException):
        return False


def _surely_differ(answer: object, gold: object) -> bool:
    try:
        return differ(answer, gold)
    except Exception:  # sympy raises many types if it cannot compute a value; then math-verify decides
        return False


def _as_set(parsed: Any) -> Any:
    """Return a parsed set of alternative inequalities as the set of numbers that they describe; anything else unchanged."""
    from sympy import Eq, FiniteSet
    from sympy.logic.boolalg import Boolean

    if not (isinstance(parsed, FiniteSet) and all(isinstance(part, Boolean) for part in parsed.args)):
        return parsed
    if any(isinstance(part, Eq) for part in parsed.args):
        return parsed
    return reduce(or_, (part.as_set() for part in parsed.args))


def _with_complex_unit(parsed: Any) -> Any:
    """Return the expression with its symbol `i`, if it has one, replaced by the complex unit, and all other symbols real."""
    from sympy import I, Symbol

    symbols: set[Symbol] = getattr(parsed, "free_symbols", set())
    if not any(symbol.name == "i" for symbol in symbols):
        return parsed
    return parsed.subs({symbol: I if symbol.name == "i" else Symbol(symbol.name, real=True) for symbol in symbols})


def _with_case_kept(texts: Sequence[str]) -> list[str]:
    """Return the texts with other letters for capitals that also occur small: math-verify takes `R` and `r` for the same."""
    letters = {found for text in texts for found in _LETTER.findall(text) if len(found) == 1}
    free = [letter for letter in _NAMES if letter not in letters and letter.upper() not in letters]
    both = sorted(letter for letter in letters if letter.isupper() and letter.lower() in letters)
    other = dict(zip(both, free, strict=False))
    return [_LETTER.sub(lambda found: other.get(found[0], found[0]), text) for text in texts]


def _latex(text: str) -> str:
    text = spaced(canonical(text.strip().rstrip(".")).replace("$", ""))
    text = _MIXED.sub(r"(\1+\\frac{\2}{\3})", join_thousands(text))
    return _SCIENTIFIC.sub(r"\1 \\times 10^{\2}", text).rstrip(".")
