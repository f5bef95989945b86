"""What a run says about each of the paper's findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.analysis.bootstrap import RESAMPLES, Estimate, Replicates, Resampling
from pipelines.analysis.claims import Bench, Claim, KindGroup, Part, claims
from pipelines.analysis.problem_means import ProblemMeans
from pipelines.analysis.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class KindGroups:
    """Which kinds of problem are hard, and which are from a domain that was not trained on."""

    hard: frozenset[str] = frozenset()
    unseen: frozenset[str] = frozenset()

    def of(self, group: KindGroup, kinds: frozenset[str]) -> frozenset[str]:
        """Return the `kinds` that are in a group. Easy and hard are empty if no kind is named as hard."""
        main = kinds - self.unseen
        return {
            KindGroup.MAIN: main,
            KindGroup.EASY: main - self.hard if self.hard else frozenset(),
            KindGroup.HARD: main & self.hard,
            KindGroup.UNSEEN: kinds & self.unseen,
        }[group]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One number that a finding rests on."""

    what: str
    estimate: Estimate
    verdict: Verdict
    """the verdict on this part of the finding"""


@dataclass(frozen=True, slots=True)
class Finding:
    """A statement and what the run says about it."""

    key: str
    statement: str
    paper: str | None
    """the paper's numbers; None for a question of this project's own"""
    verdict: Verdict
    evidence: tuple[Evidence, ...]
    reason: str | None
    """why it cannot be told, if something was not evaluated"""


def findings(
    results: Mapping[str, ProblemMeans],
    groups: KindGroups = KindGroups(),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Finding]:
    """Return every finding with its verdict. `results` has the evaluated systems by their names in `systems`.

    Raises `ValueError` if two systems have answers to different problems of one group.
    """
    kinds = frozenset(str(kind) for system in results.values() for kind in system.kind)
    unknown = (groups.hard | groups.unseen) - kinds
    if unknown:
        raise ValueError(f"no problem is of kind {sorted(unknown)}; there are {sorted(kinds)}")
    benches = {group: _bench(results, groups.of(group, kinds), resamples, seed) for group in KindGroup}
    return [_decided(claim, benches) for claim in claims(results)]


def _bench(results: Mapping[str, ProblemMeans], kinds: frozenset[str], resamples: int, seed: int) -> Bench:
    chosen = {name: system.of_kinds(kinds) for name, system in results.items()}
    chosen = {name: system for name, system in chosen.items() if len(system)}
    if not chosen:
        return Bench({})
    first = max(chosen, key=lambda name: len(chosen[name]))
    resampling = Resampling.of(chosen[first], resamples, seed)
    replicated = {}
    for name, system in chosen.items():
        try:
            replicated[name] = Replicates.of(system, resampling)
        except ValueError as error:
            raise ValueError(f"{name} and {first}: {error}") from error
    return Bench(replicated)


def _decided(claim: Claim, benches: Mapping[KindGroup, Bench]) -> Finding:
    missing = sorted(
        {
            f"{name} on {part.group} problems" if part.group is not KindGroup.MAIN else name
            for part in claim.parts
            for name in part.needs
            if name not in benches[part.group].systems
        }
    )
    evidence: tuple[Evidence, ...] = ()
    reason = claim.lacking if not claim.parts else f"not evaluated: {', '.join(missing)}" if missing else None
    if reason is None:
        evidence = tuple(_evidence(part, benches[part.group]) for part in claim.parts)
        verdicts = {one.verdict for one in evidence}
        order = (Verdict.DOES_NOT_SHOW, Verdict.CANNOT_BE_TOLD, Verdict.SHOWS)
        verdict = next(verdict for verdict in order if verdict in verdicts)
    else:
        verdict = Verdict.CANNOT_BE_TOLD
    return Finding(claim.key, claim.statement, claim.paper, verdict, evidence, reason)


def _evidence(part: Part, bench: Bench) -> Evidence:
    estimate = Estimate.of(part.number(bench))
    return Evidence(part.what, estimate, part.decide(estimate))
