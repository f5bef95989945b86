"""What a study found: every system's recorded answers, and the runs that they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.analysis.costs import PriceSettings
from pipelines.analysis.findings import KindGroups
from pipelines.records.answers import AnswerTable


@dataclass(frozen=True, slots=True, eq=False)
class SystemAnswers:
    """One system's answers to the study's evaluation problems."""

    run: str
    """the study's name of the run that evaluated it"""
    table: AnswerTable
    seconds: float
    """wall clock of decoding and grading its answers"""


@dataclass(frozen=True, slots=True)
class OraclePoint:
    """The best possible policy on the problems of one kind."""

    accuracy: float
    call_ratio: float


@dataclass(frozen=True, slots=True, eq=False)
class StudyResults:
    """All results that a study has on disk. A system without answers is in `missing`."""

    name: str
    systems: Mapping[str, SystemAnswers]
    """by the names of `pipelines.analysis.systems`, or others"""
    missing: Mapping[str, str]
    """why a system has no answers"""
    groups: KindGroups
    prices: PriceSettings
    runs: Mapping[str, Path]
    """directories of the runs, by the study's names; those that trained have learning curves"""
    oracle: Mapping[str, OraclePoint] = field(default_factory=dict)
    """by kind and for `all`; empty if the task cannot compute it"""
