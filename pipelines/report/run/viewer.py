"""Traces in a page's viewer: which it shows, and its filters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.records.traces import Trace
from pipelines.report.kinds import kind_label

MAX_TRACES = 240

VERDICT = {"correct": "correct", "wrong": "wrong"}


@dataclass(frozen=True, slots=True)
class ShownTrace:
    """A trace, and its value for each filter."""

    trace: Trace
    origin: str
    """the name of its system or evaluation, for readers"""
    values: Mapping[str, str]
    """by the filters' keys"""

    @property
    def group(self) -> tuple[str, str]:
        """Traces are chosen evenly from all groups."""
        return self.origin, self.trace.kind


@dataclass(frozen=True, slots=True)
class Filter:
    """A choice of the viewer. Its key is also a key of `ShownTrace.values` and of the page's address."""

    key: str
    label: str
    everything: str
    """text of the choice that shows everything"""
    options: Mapping[str, str]
    """the text of each value"""


def verdict_of(trace: Trace) -> str:
    return "correct" if trace.correct else "wrong"


def evaluation_traces(traces: Sequence[Trace]) -> tuple[ShownTrace, ...]:
    """Return the traces of one run's evaluations."""
    return tuple(
        ShownTrace(
            trace,
            f"{trace.name}, {trace.policy}",
            {"group": f"{trace.name}, {trace.policy}", "kind": trace.kind, "verdict": verdict_of(trace)},
        )
        for trace in traces
    )


def evaluation_filters(shown: Sequence[ShownTrace]) -> tuple[Filter, ...]:
    """Return the filters for one run's evaluations."""
    groups = {one.origin: one.origin for one in shown}
    return useful(Filter("group", "Evaluation", "all evaluations", groups), kind_filter(shown), verdict_filter())


def kind_filter(shown: Sequence[ShownTrace]) -> Filter:
    kinds = {one.trace.kind: kind_label(one.trace.kind) for one in shown}
    return Filter("kind", "Kind of problem", "all kinds", kinds)


def verdict_filter() -> Filter:
    return Filter("verdict", "Verdict", "correct and wrong", VERDICT)


def useful(*filters: Filter) -> tuple[Filter, ...]:
    """Return the filters with more than one value."""
    return tuple(one for one in filters if len(one.options) > 1)


def evenly(shown: Sequence[ShownTrace], limit: int = MAX_TRACES) -> tuple[ShownTrace, ...]:
    """Return at most `limit` traces, in order, spread over their groups as evenly as possible."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, one in enumerate(shown):
        groups[one.group].append(index)
    rank = {index: place for group in groups.values() for place, index in enumerate(group)}
    kept = sorted(rank, key=lambda index: (rank[index], index))[:limit]
    return tuple(shown[index] for index in sorted(kept))
