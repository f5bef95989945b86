"""The systems' names in the report, their order and their colours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipelines.analysis import systems
from pipelines.report.theme import Theme

CITER = "CITER"
PERFECT_ROUTER = "perfect router"
RANDOM_ROUTER = "random router"

_LABELS: Mapping[str, str] = {
    systems.BASE: "base student",
    systems.GRPO: "GRPO without calls",
    systems.GRPO_FILTERED: "GRPO without calls, filtered data",
    systems.RELAY: "relay",
    systems.RELAY_SIMPLE: "relay, simple reward",
    systems.RELAY_TEACHER_FREE: "relay, calls forbidden",
    systems.RELAY_SIMPLE_TEACHER_FREE: "relay, simple reward, calls forbidden",
    systems.FIXED_SHORT: "relay, short calls",
    systems.FIXED_MEDIUM: "relay, medium calls",
    systems.FIXED_LONG: "relay, long calls",
    systems.NO_FILTER: "relay without the data filter",
    systems.NO_BONUS: "relay without the bonus for its own",
    systems.NO_EXPLORATION: "relay without reward for exploring",
    systems.NO_WARMUP: "relay without warm-up",
    systems.UNMASKED: "relay, teacher tokens trained",
    systems.RANDOM_PLACEMENT: "relay, calls at random places",
    systems.TEACHER: "teacher",
    CITER.lower(): CITER,
}
_LAST = float("inf")
_SHORT: Mapping[str, str] = {
    systems.GRPO: "GRPO",
    systems.GRPO_FILTERED: "GRPO, filtered",
    systems.RELAY_SIMPLE: "simple reward",
    systems.RELAY_TEACHER_FREE: "calls forbidden",
    systems.RELAY_SIMPLE_TEACHER_FREE: "simple, calls forbidden",
    systems.FIXED_SHORT: "short calls",
    systems.FIXED_MEDIUM: "medium calls",
    systems.FIXED_LONG: "long calls",
    systems.NO_FILTER: "no filter",
    systems.NO_BONUS: "no bonus",
    systems.NO_EXPLORATION: "no exploration",
    systems.NO_WARMUP: "no warm-up",
    systems.UNMASKED: "unmasked",
    systems.RANDOM_PLACEMENT: "random places",
}


def label(name: str) -> str:
    """Return a system's name in full."""
    if systems.is_citer(name):
        return f"{CITER}, threshold {_setting(name)}"
    if systems.is_relay_with_another_teacher(name):
        return f"relay with teacher {_setting(name)}"
    return _LABELS.get(name, name)


def short_label(name: str) -> str:
    """Return a system's name for a mark in a figure."""
    if systems.is_citer(name):
        return _setting(name)
    if systems.is_relay_with_another_teacher(name):
        return f"with {_setting(name)}"
    return _SHORT.get(name, label(name))


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names in display order: known systems, with CITER by threshold before relay, and then the others."""
    known = list(_LABELS)

    def rank(name: str) -> tuple[int, float, str]:
        if systems.is_citer(name):
            return known.index(systems.RELAY), _number(_setting(name)), name
        if systems.is_relay_with_another_teacher(name):
            return known.index(systems.TEACHER), 0.0, name
        return (known.index(name) if name in known else len(known)), _LAST, name

    return tuple(sorted(names, key=rank))


def color(name: str, theme: Theme) -> str:
    """Return the colour of a system by who answers: the student alone, the teacher alone, both in relay, or a router."""
    if systems.is_citer(name):
        return theme.kinds[2]
    alone = {systems.RELAY_TEACHER_FREE, systems.RELAY_SIMPLE_TEACHER_FREE}
    if name in {systems.BASE, systems.GRPO, systems.GRPO_FILTERED} | alone:
        return theme.student
    return theme.teacher if name == systems.TEACHER else theme.relay


def _setting(name: str) -> str:
    return name.partition("@")[2]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
