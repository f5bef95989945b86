"""The paper's findings, and a few questions of this project's own, as numbers that a run can compute."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from pipelines.analysis import systems
from pipelines.analysis.bootstrap import AVERAGE, Measure, Replicates
from pipelines.analysis.frontier import Point, accuracy_at_cost
from pipelines.analysis.problem_means import Float
from pipelines.analysis.router_match import gain_at_queries, gain_at_tokens
from pipelines.analysis.routers import RandomRouter
from pipelines.analysis.verdicts import Decision, not_below, positive, within

IS_MORE_ACCURATE = positive(smallest=0.01)
IS_AS_ACCURATE = within(tolerance=0.02)
IS_NO_LESS_ACCURATE = not_below(tolerance=0.01)
CALLS_MORE = positive(smallest=0.002)


class KindGroup(StrEnum):
    """Problems that a finding is about."""

    MAIN = "main"
    """all kinds that are not unseen"""
    EASY = "easy"
    """kinds of the main group that are not hard"""
    HARD = "hard"
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """All systems on the problems of one group, averaged over its kinds as in the paper."""

    systems: Mapping[str, Replicates]

    def measure(self, name: str, measure: Measure) -> Float:
        return self.systems[name].measure(AVERAGE, measure)

    def accuracy(self, name: str) -> Float:
        return self.measure(name, lambda means: means.accuracy)

    def call_ratio(self, name: str) -> Float:
        return self.measure(name, lambda means: means.call_ratio)

    @property
    def random_router(self) -> RandomRouter:
        return RandomRouter.of(self.systems[systems.BASE], self.systems[systems.TEACHER], AVERAGE)


@dataclass(frozen=True, slots=True)
class Part:
    """A number that a finding needs to be positive, or near 0."""

    what: str
    needs: tuple[str, ...]
    number: Callable[[Bench], Float]
    decide: Decision
    group: KindGroup = KindGroup.MAIN


@dataclass(frozen=True, slots=True)
class Claim:
    """A finding, before it is decided."""

    key: str
    statement: str
    paper: str | None
    parts: tuple[Part, ...]
    """all have to hold"""
    lacking: str = ""
    """what is missing if there are no parts"""


def claims(names: Collection[str]) -> list[Claim]:
    """Return all findings for a run that has the systems `names`; the paper's numbers are of Qwen3-1.7B, in percent."""
    relay, grpo, free = systems.RELAY, systems.GRPO, systems.RELAY_TEACHER_FREE
    others = _other_teachers(names)
    no_others = "not evaluated: relay with another teacher"
    return [
        Claim(
            "relay_above_grpo",
            "A student that may call is more accurate than one trained by GRPO without calls.",
            "49.52 against 44.06",
            (_accuracy(relay, grpo),),
        ),
        Claim(
            "relay_above_filtered_grpo",
            "It still is where GRPO without calls is trained on the same filtered problems.",
            None,
            (_accuracy(relay, systems.GRPO_FILTERED),),
        ),
        Claim(
            "half_the_gap",
            "The relay student closes more than half of the gap between the untrained student and the teacher.",
            "60.4 of the gap",
            (_half_the_gap(),),
        ),
        Claim(
            "relay_above_random_router",
            "It is more accurate than a random router that uses the teacher as much.",
            "6.9 points, at a share of queries equal to the call ratio",
            _above_random_router(),
        ),
        Claim(
            "relay_above_citer",
            "It is more accurate than token-level routing by CITER at no higher a call ratio.",
            "49.52 at 1.07 against 46.81 at 1.34",
            _above_citer(names),
            lacking="not evaluated: citer",
        ),
        Claim(
            "difficulty_aware_reward",
            "The difficulty-aware reward makes a more accurate student than the simple one.",
            "49.52 against 49.30 (Qwen3-0.6B: 33.04 against 32.25)",
            (_accuracy(relay, systems.RELAY_SIMPLE),),
        ),
        Claim(
            "simple_reward_calls_less",
            "The simple reward makes a student that calls less.",
            "0.43 against 1.07",
            (_call_ratio(relay, systems.RELAY_SIMPLE),),
        ),
        Claim(
            "filter_saves_calls",
            "Without the data filter the student calls more, and is no more accurate.",
            "3.30 against 1.07, at 48.76 against 49.52",
            (
                _call_ratio(systems.NO_FILTER, relay),
                _accuracy(relay, systems.NO_FILTER, decide=IS_NO_LESS_ACCURATE),
            ),
        ),
        Claim(
            "bonus_saves_calls",
            "Without the bonus for right answers of its own the student calls more.",
            "4.10 against 1.07, at 49.34 against 49.52",
            (_call_ratio(systems.NO_BONUS, relay),),
        ),
        Claim(
            "exploration_helps",
            "Without the reward for calls on unsolved problems the student is less accurate.",
            "47.56 against 49.52, at 0.65 against 1.07",
            (_accuracy(relay, systems.NO_EXPLORATION),),
        ),
        Claim(
            "learned_length_is_cheap",
            "Calls of a fixed medium length cost more than learned lengths, at similar accuracy.",
            "2.87 against 1.07, at 49.56 against 49.52",
            (
                _call_ratio(systems.FIXED_MEDIUM, relay),
                _accuracy(systems.FIXED_MEDIUM, relay, decide=IS_AS_ACCURATE),
            ),
        ),
        Claim(
            "longer_calls_cost_more",
            "The longer fixed calls are, the more the teacher writes.",
            "1.32, 2.87 and 5.37 at 20, 100 and 500 tokens",
            (
                _call_ratio(systems.FIXED_MEDIUM, systems.FIXED_SHORT),
                _call_ratio(systems.FIXED_LONG, systems.FIXED_MEDIUM),
            ),
        ),
        Claim(
            "teacher_free_above_grpo_on_easy",
            "With calls forbidden, the relay student keeps above GRPO without calls on easy problems.",
            "60.26 against 59.51",
            (_accuracy(free, grpo, KindGroup.EASY),),
        ),
        Claim(
            "simple_teacher_free_above_grpo_on_easy",
            "With calls forbidden, so does the student of the simple reward.",
            "61.12 against 59.51",
            (_accuracy(systems.RELAY_SIMPLE_TEACHER_FREE, grpo, KindGroup.EASY),),
        ),
        Claim(
            "teacher_needed_on_hard",
            "On hard problems it needs the teacher: without it, it falls behind GRPO without calls.",
            "11.93 against 13.18; with the teacher 15.00",
            (_accuracy(grpo, free, KindGroup.HARD), _accuracy(relay, free, KindGroup.HARD)),
        ),
        Claim(
            "unseen_domains",
            "The gain over GRPO without calls carries over to domains that were not trained on.",
            "12.46/59.03/29.93 against 10.89/49.76/26.01",
            (_accuracy(relay, grpo, KindGroup.UNSEEN),),
        ),
        Claim(
            "teacher_of_training_is_best",
            "No other teacher at evaluation does better than the one of training.",
            "best with Qwen3-8B, slightly lower with a larger one",
            tuple(_accuracy(relay, other, decide=IS_NO_LESS_ACCURATE) for other in others),
            lacking=no_others,
        ),
        Claim(
            "any_teacher_above_none",
            "With any teacher the relay student is more accurate than with none.",
            "even with Qwen3-0.6B above 44.15",
            tuple(_accuracy(other, free) for other in others),
            lacking=no_others,
        ),
        Claim(
            "places_of_calls_matter",
            "Calls of the same number and length help less at random places.",
            None,
            (_accuracy(relay, systems.RANDOM_PLACEMENT),),
        ),
        Claim(
            "warmup_teaches_calls",
            "Without the warm-up the student hardly learns to call.",
            None,
            (_call_ratio(relay, systems.NO_WARMUP),),
        ),
        Claim(
            "masking_costs_nothing",
            "Leaving the teacher's tokens out of the loss costs no accuracy.",
            None,
            (_accuracy(relay, systems.UNMASKED, decide=IS_NO_LESS_ACCURATE),),
        ),
    ]


def _accuracy(
    first: str,
    second: str,
    group: KindGroup = KindGroup.MAIN,
    decide: Decision = IS_MORE_ACCURATE,
) -> Part:
    return Part(
        f"accuracy: {first} − {second}",
        (first, second),
        lambda bench: bench.accuracy(first) - bench.accuracy(second),
        decide,
        group,
    )


def _call_ratio(first: str, second: str) -> Part:
    return Part(
        f"call ratio: {first} − {second}",
        (first, second),
        lambda bench: bench.call_ratio(first) - bench.call_ratio(second),
        CALLS_MORE,
    )


def _above_random_router() -> tuple[Part, ...]:
    needs = (systems.RELAY, systems.BASE, systems.TEACHER)

    def at_queries(bench: Bench) -> Float:
        return gain_at_queries(bench.systems[systems.RELAY], bench.random_router, AVERAGE)

    def at_tokens(bench: Bench) -> Float:
        return gain_at_tokens(bench.systems[systems.RELAY], bench.random_router, AVERAGE)

    what = "accuracy: relay − random router with the call ratio as its share of"
    return (
        Part(f"{what} queries", needs, at_queries, IS_MORE_ACCURATE),
        Part(f"{what} tokens", needs, at_tokens, IS_MORE_ACCURATE),
    )


def _half_the_gap() -> Part:
    def number(bench: Bench) -> Float:
        return bench.random_router.share_for_accuracy(bench.accuracy(systems.RELAY)) - 0.5

    needs = (systems.RELAY, systems.BASE, systems.TEACHER)
    return Part("share of the gap between base student and teacher, less one half", needs, number, positive(0.0))


def _above_citer(names: Collection[str]) -> tuple[Part, ...]:
    settings = tuple(name for name in names if systems.is_citer(name))
    if not settings:
        return ()
    curve = (systems.BASE, *settings)

    def number(bench: Bench) -> Float:
        costs = np.stack([bench.call_ratio(name) for name in curve], axis=1)
        accuracies = np.stack([bench.accuracy(name) for name in curve], axis=1)
        of_citer = [
            accuracy_at_cost([Point(*point) for point in zip(curve, *row, strict=True)], cost)
            for *row, cost in zip(costs, accuracies, bench.call_ratio(systems.RELAY), strict=True)
        ]
        return bench.accuracy(systems.RELAY) - np.asarray(of_citer, np.float64)

    what = "accuracy: relay − CITER's best at the relay student's call ratio"
    return (Part(what, (systems.RELAY, *curve), number, IS_MORE_ACCURATE),)


def _other_teachers(names: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in names if systems.is_relay_with_another_teacher(name))
