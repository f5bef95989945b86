"""Every number of a comparison, computed once from the systems' answers by `pipelines.analysis`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipelines.analysis import systems
from pipelines.analysis.bootstrap import AVERAGE, RESAMPLES, Estimate, Replicates, Resampling, difference
from pipelines.analysis.claims import KindGroup
from pipelines.analysis.findings import Finding, KindGroups, findings
from pipelines.analysis.problem_means import ProblemMeans
from pipelines.analysis.results import StudyResults
from pipelines.analysis.router_match import RouterMatch, match_router
from pipelines.analysis.routers import RandomRouter, perfect_router
from pipelines.analysis.summary import Summary, summarize
from pipelines.report.comparison.labels import ordered


@dataclass(frozen=True, slots=True, eq=False)
class GroupResults:
    """All systems on the problems of one group of kinds; empty if there is no such problem."""

    resampling: Resampling | None
    replicates: Mapping[str, Replicates]
    """by system, for systems with answers to these problems"""
    summaries: Mapping[str, Mapping[str, Summary]]
    """by system, then by scope"""

    @property
    def kinds(self) -> tuple[str, ...]:
        return () if self.resampling is None else self.resampling.kinds

    @property
    def problems(self) -> int:
        return 0 if self.resampling is None else len(self.resampling.problems)

    def against(self, name: str, other: str) -> Estimate | None:
        """Return the accuracy of one system minus that of the other, None if either has no answers."""
        if name not in self.replicates or other not in self.replicates:
            return None
        return difference(self.replicates[name], self.replicates[other], AVERAGE, lambda means: means.accuracy)


@dataclass(frozen=True, eq=False)
class Comparison:
    """A study's results with all that is computed from them."""

    results: StudyResults
    resamples: int
    groups: Mapping[KindGroup, GroupResults]
    findings: tuple[Finding, ...]
    remarks: tuple[str, ...]
    """settings of the study that its answers do not support, one sentence each"""

    @property
    def main(self) -> GroupResults:
        return self.groups[KindGroup.MAIN]

    @property
    def names(self) -> tuple[str, ...]:
        """Systems with answers, in the order in which they are shown."""
        return ordered(self.results.systems)

    @property
    def problems(self) -> int:
        return sum(self.groups[group].problems for group in (KindGroup.MAIN, KindGroup.UNSEEN))

    def absence(self, name: str, group: KindGroup = KindGroup.MAIN) -> str | None:
        """Return why a system has no results on a group, None if it has."""
        if name in self.groups[group].summaries:
            return None
        if name in self.results.systems:
            return f"not evaluated on {group} problems"
        return self.results.missing.get(name, "not one of this study's systems")

    @cached_property
    def random_router(self) -> RandomRouter | None:
        """The random router between base student and teacher on the main problems, None unless both were evaluated."""
        replicates = self.main.replicates
        if systems.BASE not in replicates or systems.TEACHER not in replicates:
            return None
        return RandomRouter.of(replicates[systems.BASE], replicates[systems.TEACHER], AVERAGE)

    @cached_property
    def perfect_router(self) -> Replicates | None:
        """The perfect router on the main problems, None unless base student and teacher were evaluated."""
        if self.random_router is None or self.main.resampling is None:
            return None
        base, teacher = (
            ProblemMeans.of(self.results.systems[name].table).of_kinds(frozenset(self.main.kinds))
            for name in (systems.BASE, systems.TEACHER)
        )
        return Replicates.of(perfect_router(base, teacher), self.main.resampling)

    def match(self, system: Replicates) -> RouterMatch:
        """Return the comparison of a system with the random router, which has to exist."""
        base, teacher = (self.main.replicates[name] for name in (systems.BASE, systems.TEACHER))
        return match_router(system, base, teacher, AVERAGE, self.results.prices)

    def routed(self, share: float) -> Replicates:
        """Return the random router, which has to exist, at one share of queries."""
        assert self.random_router is not None
        return Replicates({AVERAGE: self.random_router.at(np.full(self.resamples + 1, share))})


def compare(results: StudyResults, resamples: int = RESAMPLES) -> Comparison:
    """Return all numbers. Raises `ValueError` if two systems have answers to different problems of one group."""
    means = {name: ProblemMeans.of(system.table) for name, system in results.systems.items()}
    kinds = frozenset(str(kind) for system in means.values() for kind in system.kind)
    unknown = (results.groups.hard | results.groups.unseen) - kinds
    groups = KindGroups(results.groups.hard & kinds, results.groups.unseen & kinds)
    return Comparison(
        results=results,
        resamples=resamples,
        groups={group: _group(results, groups.of(group, kinds), resamples) for group in KindGroup},
        findings=tuple(findings(means, groups, resamples)),
        remarks=(f"No problem is of kind {', '.join(sorted(unknown))}.",) if unknown else (),
    )


def _group(results: StudyResults, kinds: frozenset[str], resamples: int) -> GroupResults:
    tables = {
        name: system.table.where(np.isin(system.table.kind, sorted(kinds))) for name, system in results.systems.items()
    }
    tables = {name: table for name, table in tables.items() if len(table)}
    if not tables:
        return GroupResults(None, {}, {})
    means = {name: ProblemMeans.of(table) for name, table in tables.items()}
    resampling = Resampling.of(max(means.values(), key=len), resamples)
    return GroupResults(
        resampling=resampling,
        replicates={name: Replicates.of(system, resampling) for name, system in means.items()},
        summaries={name: summarize(table, resampling) for name, table in tables.items()},
    )
