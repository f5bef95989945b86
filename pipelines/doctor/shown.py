"""Shows findings to a person in a terminal, or to a program as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from pipelines.doctor.findings import Finding, Group, Level, as_mapping, count, summary

_MARKS = {
    Level.FINE: ("✓ fine", "green"),
    Level.WARNING: ("! warning", "yellow"),
    Level.PROBLEM: ("✗ problem", "bold red"),
}
_WIDTH = max(len(mark) for mark, _ in _MARKS.values())


def show(findings: Sequence[Finding], subject: str, console: Console) -> None:
    """Print all findings by group and node, each with its remedy, and a summary as the last line."""
    console.print(Text(subject, style="bold"))
    for group in Group:
        in_group = [finding for finding in findings if finding.group is group]
        for node in dict.fromkeys(finding.node for finding in in_group):
            console.print()
            console.print(Text(f"{group}{f', node {node}' if node else ''}", style="bold cyan"))
            for finding in in_group:
                if finding.node == node:
                    _line(finding, console)
    console.print()
    console.print(Text(summary(findings), style=_MARKS[worst(findings)][1]))


def worst(findings: Sequence[Finding]) -> Level:
    """Return the worst level among the findings."""
    return next((level for level in (Level.PROBLEM, Level.WARNING) if count(findings, level)), Level.FINE)


def as_json(findings: Sequence[Finding], subject: str) -> str:
    """Return the findings as JSON: the subject, the worst level, how many there are of each, and a list of all."""
    return json.dumps(
        {
            "subject": subject,
            "level": str(worst(findings)),
            "counts": {str(level): count(findings, level) for level in Level},
            "findings": [as_mapping(finding) for finding in findings],
        },
        indent=2,
    )


def _line(finding: Finding, console: Console) -> None:
    mark, style = _MARKS[finding.level]
    line = Text.assemble((f"  {mark:<{_WIDTH}}  ", style), (f"{finding.name}: ", "bold"), finding.text)
    console.print(line, soft_wrap=True)
    if finding.remedy:
        console.print(Text(f"  {'':<{_WIDTH}}  → {finding.remedy}"), soft_wrap=True)
