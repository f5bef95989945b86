"""Numbers as a reader sees them."""

from __future__ import annotations


def percent(share: float) -> str:
    """Return a share as text: 0.0981 as `9.8 %`, 1 as `100 %`. The space before the sign is a no-break space."""
    return "100\u00a0%" if share == 1 else f"{100 * share:.1f}\u00a0%"


def points(gain: float) -> str:
    """Return a difference of two shares as text: 0.975 as `+97.5 points`, and `no change`."""
    rounded = round(100 * gain, 1)
    return f"{rounded:+.1f} points".replace("-", "\u2212") if rounded else "no change"


def counted(number: int, word: str) -> str:
    """Return a number with its word: `1 call`, `1,200 tokens`."""
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def money(amount: float, currency: str) -> str:
    """Return an amount with three significant digits, and never as a power of ten: `0.00012 EUR`."""
    digits = f"{amount:.3g}"
    if "e" in digits:
        digits = f"{amount:,.0f}" if amount >= 1 else f"{amount:.12f}".rstrip("0").rstrip(".")
    return f"{digits} {currency}".rstrip()
