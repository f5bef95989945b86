"""Traces of a study's systems, from the folders of the evaluations that gave their answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.analysis.results import StudyResults
from pipelines.records.answers import ANSWERS, AnswersError, AnswerTable
from pipelines.records.traces import Trace
from pipelines.report.comparison.labels import label, ordered
from pipelines.report.run.bounds import shown_event
from pipelines.report.run.reading import read_records
from pipelines.report.run.viewer import Filter, ShownTrace, kind_filter, useful, verdict_filter, verdict_of

_CALLS = {"with": "with a call", "without": "without a call"}


@dataclass(frozen=True, slots=True)
class StudyTraces:
    """Traces by system, and what was wrong with their files."""

    by_system: Mapping[str, tuple[Trace, ...]]
    remarks: tuple[str, ...]


def read_study_traces(results: StudyResults) -> StudyTraces:
    """Return each system's traces. They are in the folder whose table has exactly the system's answers.

    Raises `RunReadError` if a record breaks its format.
    """
    remarks: list[str] = []
    found: dict[str, dict[Trace, None]] = {}
    for run, directory in results.runs.items():
        of_run = {name: system.table for name, system in results.systems.items() if system.run == run}
        for folder, answers in _evaluations(directory, remarks):
            for name in (name for name, table in of_run.items() if _equal(table, answers)):
                traces = dict.fromkeys(read_records(folder / "traces.jsonl", Trace, remarks, shown_event))
                found.setdefault(name, {}).update(traces)
    by_system = {name: tuple(found[name]) for name in ordered(found) if found[name]}
    return StudyTraces(by_system, tuple(dict.fromkeys(remarks)))


def study_traces(traces: Mapping[str, Sequence[Trace]]) -> tuple[ShownTrace, ...]:
    return tuple(
        ShownTrace(
            trace,
            label(name),
            {
                "system": name,
                "kind": trace.kind,
                "verdict": verdict_of(trace),
                "calls": "with" if trace.calls else "without",
            },
        )
        for name, of_system in traces.items()
        for trace in of_system
    )


def study_filters(shown: Sequence[ShownTrace]) -> tuple[Filter, ...]:
    names = {one.values["system"]: one.origin for one in shown}
    return useful(
        Filter("system", "System", "all systems", names),
        kind_filter(shown),
        verdict_filter(),
        Filter("calls", "Calls", "with and without a call", _CALLS),
    )


def _evaluations(run: Path, remarks: list[str]) -> Iterator[tuple[Path, AnswerTable]]:
    """Yield the folders of a run's evaluations that have traces, and their answers. One at a time, since they may be large."""
    for folder in sorted(run.glob("stages/evaluate-*")):
        if not (folder / "traces.jsonl").is_file():
            continue
        try:
            yield folder, AnswerTable.read(folder / ANSWERS)
        except AnswersError as error:
            remarks.append(f"Traces of {folder.name} of run {run.name} are left out: {error}.")


def _equal(first: AnswerTable, second: AnswerTable) -> bool:
    columns = ("problem", "sample", "text", "teacher_tokens")
    return all(np.array_equal(getattr(first, column), getattr(second, column)) for column in columns)
