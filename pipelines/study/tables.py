"""A study's numbers for machines: tables.json. Equal settings and answers give equal files, byte by byte."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from cluster.files import write_atomically
from pipelines.analysis.bootstrap import Estimate, Resampling
from pipelines.analysis.findings import Finding, KindGroups, findings
from pipelines.analysis.problem_means import ProblemMeans
from pipelines.analysis.results import StudyResults
from pipelines.analysis.summary import Summary, summarize

_DECIMALS = 6
_MEASURES = ("accuracy", "call_ratio", "calls_per_sample", "output_tokens", "teacher_tokens")


def write_tables(results: StudyResults, path: Path, resamples: int) -> None:
    """Write the numbers of all systems by kind, and the findings; nothing in it depends on time or place."""
    content = json.dumps(tables(results, resamples), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(path, (content + "\n").encode())


def tables(results: StudyResults, resamples: int) -> dict[str, JsonValue]:
    """Return the content of tables.json."""
    means = {system: ProblemMeans.of(answers.table) for system, answers in results.systems.items()}
    kinds = frozenset(str(kind) for system in means.values() for kind in system.kind)
    groups = KindGroups(results.groups.hard & kinds, results.groups.unseen & kinds)
    return {
        "study": results.name,
        "resamples": resamples,
        "systems": _systems(results, means, resamples),
        "missing": dict(results.missing),
        "oracle": {
            kind: {"accuracy": _number(point.accuracy), "call_ratio": _number(point.call_ratio)}
            for kind, point in sorted(results.oracle.items())
        },
        "findings": {finding.key: _finding(finding) for finding in findings(means, groups, resamples)},
    }


def _systems(results: StudyResults, means: Mapping[str, ProblemMeans], resamples: int) -> dict[str, JsonValue]:
    if not means:
        return {}
    resampling = Resampling.of(next(iter(means.values())), resamples)
    return {
        system: {scope: _summary(summary) for scope, summary in summarize(answers.table, resampling).items()}
        for system, answers in results.systems.items()
    }


def _summary(summary: Summary) -> dict[str, JsonValue]:
    return {"problems": summary.problems, **{name: _estimate(getattr(summary, name)) for name in _MEASURES}}


def _finding(finding: Finding) -> dict[str, JsonValue]:
    return {
        "statement": finding.statement,
        "verdict": finding.verdict.value,
        "reason": finding.reason,
        "evidence": [
            {"what": one.what, "verdict": one.verdict.value, **_estimate(one.estimate)} for one in finding.evidence
        ],
    }


def _estimate(estimate: Estimate) -> dict[str, JsonValue]:
    return {name: _number(getattr(estimate, name)) for name in ("value", "low", "high")}


def _number(value: float) -> float | None:
    """Return the number as it is written; None for an infinite bound, since JSON has no infinity."""
    return round(value, _DECIMALS) if math.isfinite(value) else None
