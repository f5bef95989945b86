r"""Reads the unit after a number: `12 cm`, `12~\text{cm}`, `5\,\mathrm{m/s^2}`, `12 dollars`, `10 a.m.`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from rewards.layout import plain, spaced

_WRAPPER = r"\\(?:text|textrm|textbf|mathrm|mbox|hbox|operatorname)\s*\{(?:[^{}]|\{[^{}]*\})*\}(?:\^\{?-?\d\}?)?"
_WRAPPED = re.compile(rf"(?<=[\d}}%.)])\s*{_WRAPPER}(?:\s?(?:\\cdot|\\times|[/*.])?\s?{_WRAPPER})*$")
_BARE = re.compile(r"(?<=[\d}%.)]) ?((?:[A-Za-zµ]+\.?(?:\^\{?-?\d\}?)?(?: ?[/·] ?|\\cdot |[ .]|$)){1,5})$")
_HALF_DAY = re.compile(r"(?<=\d)(?::00)? ?\(?([ap])(?:m|\. ?m\.?)\)?$", re.IGNORECASE)
_DOLLAR = re.compile(r"(?<!\\)\$")
_WORD = re.compile(r"[A-Za-zµ]+")
_VOWEL = re.compile("[aeiouAEIOU]")
_SAYS_MORE = re.compile(
    r"\b(or|and|not|if|unless|mod|base|plus|minus|divided|squared|cubed|factorial|choose|union|undefined|infinity"
    r"|dozen|hundreds?|thousands?|[mb]illions?|trillions?|hal(f|ves)|thirds?"
    r"|\w*(fourth|fifth|sixth|seventh|eighth|ninth|tenth|hundredth|thousandth)s?"
    r"|sin|cos|tan|log|ln|exp|sqrt|frac|pi|theta|phi|alpha|beta|gamma)\b",
    re.IGNORECASE,
)
"""words that change the number, such as `half`, or that bring in another one, such as `or`"""

_SIZES: dict[str, dict[str, str]] = {
    "length": {
        "1/1000000000": "nm", "1/1000": "mm millimeter millimetre", "1/100": "cm centimeter centimetre",
        "1": "m meter metre", "1000": "km kilometer kilometre",
        "127/5000": "in inch inches", "381/1250": "ft foot feet", "1143/1250": "yd yard", "201168/125": "mi mile",
    },
    "time": {
        "1/1000": "ms millisecond", "1": "s sec second", "60": "min minute", "3600": "h hr hour", "86400": "day",
        "604800": "week",
    },
    "calendar": {"1": "month", "12": "year"},
    "mass": {"1/1000": "mg milligram", "1": "g gram", "1000": "kg kilogram", "1000000": "ton tonne"},
    "money": {"1/100": "cent", "1": "dollar usd"},
    "euros": {"1": "euro eur"},
    "energy": {"1": "j joule", "1000": "kj kilojoule"},
    "power": {"1": "w watt", "1000": "kw kilowatt"},
    "frequency": {"1": "hz hertz", "1000": "khz kilohertz", "1000000": "mhz megahertz", "1000000000": "ghz gigahertz"},
    "morning": {"1": "a"},
    "afternoon": {"1": "p"},
}  # fmt: skip
_KNOWN = {
    name: (dimension, Fraction(size))
    for dimension, names in _SIZES.items()
    for size, words in names.items()
    for name in words.split()
}
_SYMBOLS = frozenset(("kJ", "eV", "Hz", "kHz", "MHz", "GHz", "kW", "mol", "mph", "kph"))
"""units that are no words; in other letters they are products of variables"""
_FOLDED_SYMBOLS = frozenset(symbol.casefold() for symbol in _SYMBOLS)
_POWERS = {"square": 2, "sq": 2, "cubic": 3}
_PART = re.compile(r"([a-zµ]+)\.?(?:\^\{?(-?\d)\}?)?")
_JOINED = re.compile(r" ?(?:/| per ) ?|(?: ?(?:·|\\cdot|\\times|\*) ?| )")
_SHORT = frozenset("msghNJKWVALC")
"""units that could also be variables; they count as units only after a blank, or with a `/`"""


Dimension = tuple[tuple[str, int], ...]
"""kinds of size with their powers, sorted: length 1 and time -1 for km/h"""


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit or words after a number."""

    known: tuple[Dimension, Fraction] | None = None
    """dimension and size of a unit that is compared; None for other units, which are ignored"""
    changes: str = ""
    """words that change the number: `thirds`, `or more`"""

    def conflicts(self, other: Unit) -> bool:
        """Return whether the two cannot describe the same quantity: metres and seconds, morning and afternoon."""
        if self.changes != other.changes:
            return True
        return self.known is not None and other.known is not None and self.known[0] != other.known[0]

    def in_terms_of(self, other: Unit) -> Fraction:
        """Return the size of this unit in terms of the other one; 1 if one of them is not known."""
        return Fraction(1) if self.known is None or other.known is None else self.known[1] / other.known[1]

    def is_like(self, other: Unit) -> bool:
        """Return whether equal numbers with these units are equal quantities, as far as is known."""
        return not self.conflicts(other) and self.in_terms_of(other) == 1


NO_UNIT = Unit()


def without_unit(text: str) -> tuple[str, Unit]:
    """Return canonical `text` without the unit at its end, and that unit."""
    text = _DOLLAR.sub("", spaced(text)).strip()
    if half := _HALF_DAY.search(plain(text)):
        return plain(text)[: half.start()], Unit(_known(half[1]))
    if unit := _WRAPPED.search(text.rstrip(".")):
        words = plain(unit.group())
        return (text[: unit.start()], _unit(words))
    if (unit := _BARE.search(text)) and _is_bare_unit(unit.group()):
        return text[: unit.start()], _unit(unit[1])
    return text, NO_UNIT


def _unit(words: str) -> Unit:
    return Unit(changes=words.strip()) if _SAYS_MORE.search(words) else Unit(_known(words))


def _is_bare_unit(text: str) -> bool:
    """Return whether words are a unit, not a product of variables such as `2ab` or `2 x y`."""
    apart = text.startswith(" ") or "/" in text
    return all(
        _is_long_unit(word) or (apart and (word in _SHORT or (len(word) >= 3 and _VOWEL.search(word) is not None)))
        for word in _WORD.findall(text)
    )


def _is_long_unit(word: str) -> bool:
    if word in _SYMBOLS:
        return True
    return len(word) > 1 and word.casefold() not in _FOLDED_SYMBOLS and _known(word) is not None


def _known(words: str) -> tuple[Dimension, Fraction] | None:
    """Return dimension and size of a unit, such as `cm`, `square metres` or `km/h`; None if a part of it is not known."""
    text = words.casefold().strip().rstrip(".")
    text = {"mph": "mi/h", "kph": "km/h"}.get(text, text)
    powers: dict[str, int] = {}
    size, sign, times, start = Fraction(1), 1, 1, 0
    for end, after in [*((joint.start(), joint) for joint in _JOINED.finditer(text)), (len(text), None)]:
        part = text[start:end]
        if part in _POWERS:
            times = _POWERS[part]
        elif (match := _PART.fullmatch(part)) and (found := _named(match[1])):
            power = sign * times * int(match[2] or 1)
            powers[found[0]] = powers.get(found[0], 0) + power
            size, times = size * found[1] ** power, 1
        else:
            return None
        if after is not None:
            sign = -1 if after.group().strip() in ("/", "per") else sign
            start = after.end()
    return tuple(sorted(powers.items())), size


def _named(name: str) -> tuple[str, Fraction] | None:
    return _KNOWN.get(name) or _KNOWN.get(name.removesuffix("s")) or _KNOWN.get(name.removesuffix("es"))
