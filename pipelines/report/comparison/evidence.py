"""Findings as the page shows them: the paper's and this project's, each with its verdict and its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.analysis.findings import Evidence, Finding
from pipelines.analysis.verdicts import Verdict
from pipelines.report.comparison.compared import Comparison
from pipelines.report.comparison.wording import points, points_bounds

_SIGNS: Mapping[Verdict, tuple[str, str]] = {
    Verdict.SHOWS: ("shows", "\u2713"),
    Verdict.DOES_NOT_SHOW: ("fails", "\u2717"),
    Verdict.CANNOT_BE_TOLD: ("open", "?"),
}


@dataclass(frozen=True, slots=True)
class EvidenceLine:
    """One number that a finding rests on, in points."""

    what: str
    value: str
    bounds: str
    verdict: str
    """for this number alone"""


@dataclass(frozen=True, slots=True)
class FindingBlock:
    """A finding with the sign and the style of its verdict."""

    key: str
    statement: str
    paper: str | None
    verdict: str
    style: str
    sign: str
    evidence: tuple[EvidenceLine, ...]
    reason: str | None
    missing: tuple[str, ...]
    """for each missing system, why it has no answers"""


@dataclass(frozen=True, slots=True)
class FindingSection:
    """Findings from the paper, or this project's own."""

    title: str
    findings: tuple[FindingBlock, ...]


def finding_blocks(comparison: Comparison) -> tuple[FindingSection, ...]:
    """Return the paper's findings, then this project's own questions, both in the order of the analysis."""
    blocks = [_block(finding, comparison) for finding in comparison.findings]
    return (
        FindingSection("The paper's findings", tuple(block for block in blocks if block.paper is not None)),
        FindingSection("Questions of this project's own", tuple(block for block in blocks if block.paper is None)),
    )


def _block(finding: Finding, comparison: Comparison) -> FindingBlock:
    style, sign = _SIGNS[finding.verdict]
    return FindingBlock(
        key=finding.key,
        statement=finding.statement,
        paper=finding.paper,
        verdict=str(finding.verdict),
        style=style,
        sign=sign,
        evidence=tuple(_line(evidence) for evidence in finding.evidence),
        reason=finding.reason,
        missing=_missing(finding.reason or "", comparison),
    )


def _line(evidence: Evidence) -> EvidenceLine:
    estimate = evidence.estimate
    return EvidenceLine(evidence.what, points(estimate.value), points_bounds(estimate), str(evidence.verdict))


def _missing(reason: str, comparison: Comparison) -> tuple[str, ...]:
    words = reason.replace(",", " ").split()
    return tuple(f"{name}: {why}" for name, why in comparison.results.missing.items() if name in words)
