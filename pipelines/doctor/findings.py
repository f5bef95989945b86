"""What the doctor found: one line for each thing looked at, with its remedy if something is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from pipelines.wording import counted


class Level(StrEnum):
    """How bad a finding is."""

    FINE = "fine"
    WARNING = "warning"
    """the run starts, and something about it may disappoint"""
    PROBLEM = "problem"
    """the run will fail"""


class Group(StrEnum):
    """What a finding is about, in the order of the page."""

    SOFTWARE = "software"
    MACHINE = "machine"
    CLUSTER = "cluster"
    MODELS_AND_DATA = "models and data"
    SERVICES = "services"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    group: Group
    name: str
    level: Level
    text: str
    remedy: str = ""
    """what to do; empty if all is fine"""
    node: str = ""
    """the node of the cluster that it is about; empty for this machine, and for the cluster as a whole"""


def fine(group: Group, name: str, text: str) -> Finding:
    return Finding(group, name, Level.FINE, text)


def warning(group: Group, name: str, text: str, remedy: str) -> Finding:
    return Finding(group, name, Level.WARNING, text, remedy)


def broken(group: Group, name: str, text: str, remedy: str) -> Finding:
    return Finding(group, name, Level.PROBLEM, text, remedy)


def of_mapping(found: dict[str, Any]) -> Finding:
    """Return the finding that `as_mapping` wrote."""
    return Finding(**found | {"group": Group(found["group"]), "level": Level(found["level"])})


def as_mapping(finding: Finding) -> dict[str, Any]:
    """Return a finding as JSON holds it."""
    return asdict(finding) | {"group": str(finding.group), "level": str(finding.level)}


def count(findings: Sequence[Finding], level: Level) -> int:
    """Return how many findings have this level."""
    return sum(finding.level is level for finding in findings)


def summary(findings: Sequence[Finding]) -> str:
    """Return one sentence on all findings."""
    problems, warnings = count(findings, Level.PROBLEM), count(findings, Level.WARNING)
    rest = f"{count(findings, Level.FINE)} fine"
    if problems:
        return f"The run will fail: {counted(problems, 'problem')}, {counted(warnings, 'warning')}, {rest}."
    if warnings:
        return f"The run can start: {counted(warnings, 'warning')}, {rest}."
    return f"The run can start: {rest}."
