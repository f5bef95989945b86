"""Sample traces for the page's viewer: which it shows, and its filters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.records.traces import Trace
from pipelines.report.kinds import kind_label

MAX_TRACES = 240

VERDICT = {"correct": "correct", "wrong": "wrong"}


@dataclass(frozen=True, slots=True)
class Sample:
    """A trace, and its value for each filter."""

    trace: Trace
    origin: str
    """the name of its system or evaluation, for readers"""
    values: Mapping[str, str]
    """by the filters' keys"""

    @property
    def group(self) -> tuple[str, str]:
        """The group of a sample. Samples are chosen evenly from all groups."""
        return self.origin, self.trace.kind


@dataclass(frozen=True, slots=True)
class Filter:
    """A choice of the viewer. Its key is also a key of `Sample.values` and of the page's address."""

    key: str
    label: str
    everything: str
    """text of the choice that shows everything"""
    options: Mapping[str, str]
    """the text of each value"""


def verdict_of(trace: Trace) -> str:
    return "correct" if trace.correct else "wrong"


def evaluation_samples(traces: Sequence[Trace]) -> tuple[Sample, ...]:
    """Return the traces of one run's evaluations."""
    return tuple(
        Sample(
            trace,
            f"{trace.name}, {trace.policy}",
            {"group": f"{trace.name}, {trace.policy}", "kind": trace.kind, "verdict": verdict_of(trace)},
        )
        for trace in traces
    )


def evaluation_filters(samples: Sequence[Sample]) -> tuple[Filter, ...]:
    """Return the filters for one run's evaluations."""
    groups = {sample.origin: sample.origin for sample in samples}
    return useful(Filter("group", "Evaluation", "all evaluations", groups), kind_filter(samples), verdict_filter())


def kind_filter(samples: Sequence[Sample]) -> Filter:
    kinds = {sample.trace.kind: kind_label(sample.trace.kind) for sample in samples}
    return Filter("kind", "Kind of problem", "all kinds", kinds)


def verdict_filter() -> Filter:
    return Filter("verdict", "Verdict", "correct and wrong", VERDICT)


def useful(*filters: Filter) -> tuple[Filter, ...]:
    """Return the filters with more than one value."""
    return tuple(one for one in filters if len(one.options) > 1)


def evenly(samples: Sequence[Sample], limit: int = MAX_TRACES) -> tuple[Sample, ...]:
    """Return at most `limit` samples, in order, spread over their groups as evenly as possible."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        groups[sample.group].append(index)
    rank = {index: place for group in groups.values() for place, index in enumerate(group)}
    kept = sorted(rank, key=lambda index: (rank[index], index))[:limit]
    return tuple(samples[index] for index in sorted(kept))
