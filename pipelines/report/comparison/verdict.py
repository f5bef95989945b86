"""What a study found, in a paragraph, and the facts below it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pipelines.analysis import systems
from pipelines.analysis.bootstrap import AVERAGE
from pipelines.analysis.findings import Finding
from pipelines.analysis.verdicts import Verdict
from pipelines.report.comparison.compared import Comparison
from pipelines.report.run.summary import duration
from pipelines.wording import percent

_SAYS = {
    Verdict.SHOWS: ("shows", "show"),
    Verdict.DOES_NOT_SHOW: ("does not show", "do not show"),
    Verdict.CANNOT_BE_TOLD: ("cannot be told", "cannot be told"),
}


def verdict(comparison: Comparison) -> str:
    """Return in plain words how many of the paper's findings show, and how accurate the main systems are."""
    return " ".join(part for part in (_findings(comparison.findings), _accuracies(comparison)) if part)


def facts(comparison: Comparison) -> list[tuple[str, str]]:
    """Return name and value of the figures under the verdict."""
    found, missing = comparison.results.systems, comparison.results.missing
    answers = [len(system.table) for system in found.values()]
    samples = [
        int(count) for system in found.values() for count in np.unique(system.table.problem, return_counts=True)[1]
    ]
    return [
        ("systems", f"{len(found)} of {len(found) + len(missing)}" if missing else f"{len(found)}"),
        ("problems", f"{comparison.problems:,}"),
        ("answers", f"{sum(answers):,}"),
        ("samples per problem", _range(samples)),
        ("resamples", f"{comparison.resamples:,}"),
        ("decoding and grading", duration(sum(system.seconds for system in found.values()))),
    ]


def _findings(findings: Sequence[Finding]) -> str:
    of_paper = [finding for finding in findings if finding.paper is not None]
    counts = Counter(finding.verdict for finding in of_paper)
    parts = [f"{counts[one]} {words[counts[one] != 1]}" for one, words in _SAYS.items()]
    unevaluated = sum(finding.reason is not None for finding in of_paper)
    why = f" ({unevaluated} for want of an evaluation)" if unevaluated else ""
    return f"Of the paper's {len(of_paper)} findings, {parts[0]} at this scale, {parts[1]}, and {parts[2]}{why}."


def _accuracies(comparison: Comparison) -> str:
    summaries = comparison.main.summaries
    relay = summaries.get(systems.RELAY)
    if relay is None:
        return "The relay student has no answers yet."
    text = (
        f"The relay student solves {percent(relay[AVERAGE].accuracy.value)} of the problems with "
        f"{percent(relay[AVERAGE].call_ratio.value)} of its tokens from the teacher"
    )
    others = [
        (systems.BASE, "the base student"),
        (systems.GRPO, "GRPO without calls"),
        (systems.TEACHER, "the teacher"),
    ]
    found = [
        f"{who} {percent(summaries[name][AVERAGE].accuracy.value)}{_unclear(comparison, name)}"
        for name, who in others
        if name in summaries
    ]
    return f"{text}; {', '.join(found)}." if found else f"{text}."


def _unclear(comparison: Comparison, name: str) -> str:
    """Return a remark if the relay student is not surely better or worse."""
    difference = comparison.main.against(systems.RELAY, name)
    sure = difference is not None and (difference.low > 0 or difference.high < 0)
    return "" if sure else " (not surely different)"


def _range(numbers: Sequence[int]) -> str:
    if not numbers:
        return "0"
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low} – {high}"
