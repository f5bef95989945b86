"""Numbers with their intervals as the page writes them."""

from __future__ import annotations

from math import isfinite

from pipelines.analysis.bootstrap import Estimate

_MINUS = "\u2212"


def percent_bounds(estimate: Estimate) -> str:
    """Return an interval of shares in percent: 0.68 to 0.741 as `68.0 – 74.1`."""
    return bounds(100 * estimate.low, 100 * estimate.high, 1)


def signed_percent(share: float) -> str:
    """Return a share in percent with its sign, as for savings: -0.25 as `−25.0 %`."""
    return f"{_number(100 * share, 1)}\u00a0%"


def points(share: float) -> str:
    """Return a difference of shares in points: 0.053 as `+5.3`."""
    return _number(100 * share, _digits(share), signed=True)


def points_bounds(estimate: Estimate) -> str:
    """Return the interval of a difference of shares in points, such as `+2.1 to +8.4`."""
    digits = _digits(estimate.value)
    low, high = (_number(100 * bound, digits, signed=True) for bound in (estimate.low, estimate.high))
    return f"{low} to {high}"


def bounds(low: float, high: float, digits: int) -> str:
    """Return an interval such as `1.2 – 3.4`, or as `−1.2 to 3.4` if it begins below 0."""
    between = " to " if low < 0 else " – "
    return f"{_number(low, digits)}{between}{_number(high, digits)}"


def count(value: float) -> str:
    """Return a mean number of tokens or calls, or a price, with three digits and at most two behind the point."""
    return _number(value, digits_of(value))


def digits_of(value: float) -> int:
    """Return how many digits behind the point a mean has."""
    return 0 if value == 0 or abs(value) >= 100 else 1 if abs(value) >= 10 else 2


def _digits(share: float) -> int:
    return 2 if abs(share) < 0.01 else 1


def _number(value: float, digits: int, signed: bool = False) -> str:
    if not isfinite(value):
        return f"{_MINUS}∞" if value < 0 else "∞"
    text = f"{value:+,.{digits}f}" if signed else f"{value:,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("+-")
    return text.replace("-", _MINUS)
