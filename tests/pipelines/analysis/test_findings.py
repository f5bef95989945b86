"""Verdicts on the paper's findings, for made-up systems of which the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.analysis import systems
from pipelines.analysis.bootstrap import Estimate
from pipelines.analysis.claims import claims
from pipelines.analysis.findings import Finding, KindGroups, findings
from pipelines.analysis.problem_means import ProblemMeans
from pipelines.analysis.verdicts import Verdict, not_below, positive, within

COUNTS = {"a": 600, "b": 600}


@pytest.fixture(scope="module")
def system(random_table):
    """Return a function from accuracy and call ratio to a system with its own luck."""
    seeds = iter(range(1000))

    def make(accuracy: float, call_ratio: float = 0.0, counts=COUNTS, by_teacher: bool = False) -> ProblemMeans:
        table = random_table(counts, accuracy, next(seeds), tokens=200, teacher_part=call_ratio, by_teacher=by_teacher)
        return ProblemMeans.of(table)

    return make


def found(results, **arguments) -> dict[str, Finding]:
    return {finding.key: finding for finding in findings(results, resamples=200, **arguments)}


@pytest.mark.parametrize(
    ("decide", "low", "high", "verdict"),
    [
        (positive(0.01), 0.001, 0.2, Verdict.SHOWS),
        (positive(0.01), -0.001, 0.2, Verdict.CANNOT_BE_TOLD),
        (positive(0.01), -0.2, 0.009, Verdict.DOES_NOT_SHOW),
        (positive(0.01), 0.0, 0.0, Verdict.DOES_NOT_SHOW),
        (positive(0.01), 0.001, 0.009, Verdict.DOES_NOT_SHOW),
        (positive(0.0), -np.inf, -0.1, Verdict.DOES_NOT_SHOW),
        (positive(0.0), 0.1, np.inf, Verdict.SHOWS),
        (within(0.02), -0.01, 0.01, Verdict.SHOWS),
        (within(0.02), -0.03, 0.01, Verdict.CANNOT_BE_TOLD),
        (within(0.02), 0.03, 0.05, Verdict.DOES_NOT_SHOW),
        (within(0.02), -0.05, -0.03, Verdict.DOES_NOT_SHOW),
        (not_below(0.01), -0.005, 0.3, Verdict.SHOWS),
        (not_below(0.01), -0.02, 0.3, Verdict.CANNOT_BE_TOLD),
        (not_below(0.01), -0.3, -0.02, Verdict.DOES_NOT_SHOW),
    ],
)
def test_verdicts_follow_from_the_interval(decide, low, high, verdict) -> None:
    assert decide(Estimate(value=(low + high) / 2, low=low, high=high)) is verdict


def test_nothing_is_told_without_systems_and_the_missing_ones_are_named() -> None:
    found_ = found({})
    assert {finding.verdict for finding in found_.values()} == {Verdict.CANNOT_BE_TOLD}
    assert found_["relay_above_grpo"].reason == "not evaluated: grpo, relay"
    assert found_["relay_above_citer"].reason == "not evaluated: citer"
    assert found_["unseen_domains"].reason == "not evaluated: grpo on unseen problems, relay on unseen problems"
    assert all(finding.reason and not finding.evidence for finding in found_.values())


def test_a_clear_gain_shows_with_its_size(system) -> None:
    finding = found({systems.RELAY: system(0.8, 0.02), systems.GRPO: system(0.6)})["relay_above_grpo"]
    assert finding.verdict is Verdict.SHOWS
    (evidence,) = finding.evidence
    assert evidence.what == "accuracy: relay − grpo"
    assert evidence.estimate.value == pytest.approx(0.2, abs=0.06)
    assert finding.reason is None


def test_a_clear_loss_does_not_show(system) -> None:
    results = {"relay": system(0.4), "grpo": system(0.6)}
    assert found(results)["relay_above_grpo"].verdict is Verdict.DOES_NOT_SHOW


def test_what_few_problems_leave_open_cannot_be_told(table_of) -> None:
    evens, odds = (ProblemMeans.of(table_of([{"correct": i % 2 == rest} for i in range(30)])) for rest in (0, 1))
    results = {"relay": evens, "grpo": odds}
    assert found(results)["relay_above_grpo"].verdict is Verdict.CANNOT_BE_TOLD


def test_a_finding_of_two_parts_needs_both(system) -> None:
    relay = system(0.6, 0.1)
    costly, wrong, cheap = system(0.4, 0.2), system(0.8, 0.2), system(0.4, 0.05)
    assert found({"relay": relay, "no_filter": costly})["filter_saves_calls"].verdict is Verdict.SHOWS
    assert found({"relay": relay, "no_filter": wrong})["filter_saves_calls"].verdict is Verdict.DOES_NOT_SHOW
    assert found({"relay": relay, "no_filter": cheap})["filter_saves_calls"].verdict is Verdict.DOES_NOT_SHOW


def test_the_random_router_is_that_between_base_and_teacher(system) -> None:
    base, teacher = system(0.3), system(0.9, by_teacher=True)
    good = found({"base": base, "teacher": teacher, "relay": system(0.8, 0.05)})
    assert good["relay_above_random_router"].verdict is Verdict.SHOWS
    assert good["half_the_gap"].verdict is Verdict.SHOWS
    poor = found({"base": base, "teacher": teacher, "relay": system(0.4, 0.5)})
    assert poor["relay_above_random_router"].verdict is Verdict.DOES_NOT_SHOW
    assert poor["half_the_gap"].verdict is Verdict.DOES_NOT_SHOW
    queries, tokens = poor["relay_above_random_router"].evidence
    assert queries.estimate.value == pytest.approx(0.4 - (0.3 + 0.5 * 0.6), abs=0.06)
    assert tokens.estimate.value == pytest.approx(queries.estimate.value, abs=0.02)


def test_citer_is_met_at_the_relay_students_call_ratio(system) -> None:
    results = {
        "base": system(0.3),
        "relay": system(0.55, 0.1),
        "citer@0.3": system(0.7, 0.2),
        "citer@0.9": system(0.75, 0.4),
    }
    (evidence,) = found(results)["relay_above_citer"].evidence
    assert evidence.estimate.value == pytest.approx(0.55 - (0.3 + 0.5 * 0.4), abs=0.06)


def test_every_other_teacher_counts(system) -> None:
    results = {
        "relay": system(0.7, 0.05),
        "relay_teacher_free": system(0.4),
        systems.relay_with("weak"): system(0.55, 0.05),
        systems.relay_with("strong"): system(0.9, 0.05),
    }
    now = found(results)
    assert now["teacher_of_training_is_best"].verdict is Verdict.DOES_NOT_SHOW
    assert now["any_teacher_above_none"].verdict is Verdict.SHOWS
    assert [one.what for one in now["any_teacher_above_none"].evidence] == [
        "accuracy: relay@weak − relay_teacher_free",
        "accuracy: relay@strong − relay_teacher_free",
    ]


def test_unseen_and_hard_kinds_are_kept_apart(random_table, table_of) -> None:
    def rows(accuracies: dict[str, float]) -> ProblemMeans:
        flat = [(kind, i < 300 * accuracy) for kind, accuracy in accuracies.items() for i in range(300)]
        return ProblemMeans.of(table_of([{"kind": kind, "correct": right} for kind, right in flat]))

    results = {
        "grpo": rows({"easy": 0.5, "hard": 0.4, "unseen": 0.3}),
        "relay_teacher_free": rows({"easy": 0.7, "hard": 0.2, "unseen": 0.3}),
        "relay": rows({"easy": 0.8, "hard": 0.5, "unseen": 0.2}),
    }
    now = found(results, groups=KindGroups(hard=frozenset({"hard"}), unseen=frozenset({"unseen"})))
    assert now["teacher_free_above_grpo_on_easy"].evidence[0].estimate.value == pytest.approx(0.2)
    assert now["teacher_needed_on_hard"].verdict is Verdict.SHOWS
    assert now["unseen_domains"].evidence[0].estimate.value == pytest.approx(-0.1)
    assert now["unseen_domains"].verdict is Verdict.DOES_NOT_SHOW
    assert now["relay_above_grpo"].evidence[0].estimate.value == pytest.approx((0.3 + 0.1) / 2)


def test_without_hard_kinds_nothing_is_easy(system) -> None:
    now = found({"relay_teacher_free": system(0.7), "grpo": system(0.5)})
    reason = "not evaluated: grpo on easy problems, relay_teacher_free on easy problems"
    assert now["teacher_free_above_grpo_on_easy"].reason == reason


def test_an_unknown_kind_is_named(system) -> None:
    with pytest.raises(ValueError, match=r"no problem is of kind \['hrad'\]; there are \['a', 'b'\]"):
        findings({"relay": system(0.5)}, KindGroups(hard=frozenset({"hrad"})))


def test_systems_on_different_problems_are_named(system) -> None:
    with pytest.raises(ValueError, match="grpo and relay: systems can only be compared on the same problems"):
        findings({"relay": system(0.5), "grpo": system(0.5, counts={"a": 600, "b": 10})}, resamples=10)


def test_keys_are_distinct_and_every_system_has_a_finding() -> None:
    names = [value for key, value in vars(systems).items() if key.isupper() and not key.startswith("_")]
    all_claims = claims([*names, "citer@0.5", systems.relay_with("weak")])
    assert len({claim.key for claim in all_claims}) == len(all_claims)
    needed = {name for claim in all_claims for part in claim.parts for name in part.needs}
    assert {*names, "citer@0.5", "relay@weak"} == needed
