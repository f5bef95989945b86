"""Detects tiny differences between two sympy expressions, which a comparison of a fixed number of decimals misses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sympy import Basic, Expr
    from sympy.core.relational import Relational

_TOLERANCE = 1.000001e-6
"""relative tolerance if one side is written with decimals: `numbers.RELATIVE_TOLERANCE`, plus room for rounding errors"""
_DIGITS = 400
"""digits of working precision that are tried to tell a difference from zero"""


def differ(first: object, second: object) -> bool:
    """Return whether two parsed answers certainly have different values; False if that is not known.

    Numbers are compared exactly, or to many digits. Only if one is written with decimals, there is a relative tolerance.
    Expressions with variables are compared at one point. Sets, tuples, intervals, matrices and equations are compared part
    by part.
    """
    from sympy import Eq, Expr, FiniteSet, Interval, MatrixBase, Tuple
    from sympy.core.relational import Relational

    pair = (first, second)
    if all(isinstance(side, Relational) for side in pair):
        return _relations_differ(first, second)  # type: ignore[arg-type]
    if isinstance(first, Eq) or isinstance(second, Eq):
        return differ(*(side.rhs if isinstance(side, Eq) else side for side in pair))
    if all(isinstance(side, MatrixBase) for side in pair):
        return _some_differ(list(first), list(second))  # type: ignore[call-overload]
    if all(isinstance(side, Interval) for side in pair):
        return _some_differ([first.start, first.end], [second.start, second.end])  # type: ignore[attr-defined]
    if all(isinstance(side, Tuple) for side in pair):
        return _some_differ(first.args, second.args)  # type: ignore[attr-defined]
    if all(isinstance(side, FiniteSet) for side in pair):
        return not _all_matched(first.args, second.args)  # type: ignore[attr-defined]
    if all(isinstance(side, Expr) and not side.is_Symbol for side in pair):
        return _values_differ(first, second)  # type: ignore[arg-type]
    return False


def _relations_differ(first: Relational, second: Relational) -> bool:
    """Return whether both relations bound the same expression in the same direction, by different bounds.

    Other pairs of relations may be equivalent, so they do not count as different.
    """
    a, b = (relation.reversed if relation.rel_op in ("<", "<=") else relation for relation in (first, second))
    return bool(a.rel_op == b.rel_op and a.lhs == b.lhs and differ(a.rhs, b.rhs)) or bool(
        a.rel_op == b.rel_op and a.rhs == b.rhs and differ(a.lhs, b.lhs)
    )


def _some_differ(first: Sequence[Basic], second: Sequence[Basic]) -> bool:
    return len(first) == len(second) and any(map(differ, first, second))


def _all_matched(first: Sequence[Basic], second: Sequence[Basic]) -> bool:
    """Return whether each element can be paired with one of the other set that is not known to differ from it."""
    rest = list(second)
    for element in first:
        match = next((index for index, other in enumerate(rest) if not differ(element, other)), None)
        if match is None:
            return False
        del rest[match]
    return True


def _values_differ(first: Expr, second: Expr) -> bool:
    from sympy import Float, Rational, prime

    symbols = sorted(first.free_symbols | second.free_symbols, key=str)
    point = {symbol: Rational(prime(index + 4), prime(index + 3)) for index, symbol in enumerate(symbols)}
    a, b = (side.subs(point).doit() for side in (first, second))
    if not (a.is_number and b.is_number and a.is_finite and b.is_finite):
        return False
    if a.has(Float) or b.has(Float):
        x, y = (complex(side) for side in (a, b))
        return abs(x - y) > _TOLERANCE * max(abs(x), abs(y))
    if a.is_Rational and b.is_Rational:
        return bool(a != b)
    return _is_surely_nonzero(a - b)


def _is_surely_nonzero(difference: Any) -> bool:
    from sympy.core.evalf import PrecisionExhausted

    try:
        return bool(difference.evalf(2, maxn=_DIGITS, strict=True) != 0)
    except PrecisionExhausted:
        return False
