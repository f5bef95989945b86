"""How two experiments differ, key by key."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

_ABSENT = "(absent)"


@dataclass(frozen=True, slots=True)
class Change:
    """A key whose value in an experiment differs from that of the run."""

    key: str
    before: object
    after: object
    may: bool
    """whether a run that has begun may have it"""

    def __str__(self) -> str:
        return f"{self.key}: {self.before} -> {self.after}"


def changes_between(before: object, after: object, may_change: Collection[str]) -> list[Change]:
    """Return the keys whose values differ. Those under the dotted prefixes in `may_change` may."""
    old, new = leaves(before), leaves(after)
    return [
        Change(key, *values, may=any(f"{key}.".startswith(f"{prefix}.") for prefix in may_change))
        for key in {**old, **new}
        if (values := (old.get(key, _ABSENT), new.get(key, _ABSENT)))[0] != values[1]
    ]


def leaves(value: object, key: str = "") -> dict[str, object]:
    """Return the dotted keys of a nested value, and what is there. Empty lists and mappings count as values."""
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {
            path: leaf
            for name, item in items
            for path, leaf in leaves(item, f"{key}.{name}" if key else str(name)).items()
        }
    return {key: value}
