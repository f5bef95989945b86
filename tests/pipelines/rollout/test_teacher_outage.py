"""Groups that a silent teacher has spoilt are not learned from, and a teacher that stays silent ends the run."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from benchmarks._stand_ins import graded_group
from pipelines.rollout.decode_and_grade import GradedOrder
from pipelines.rollout.pool import RolloutError
from pipelines.rollout.teacher_outage import TeacherOutage


def group(calling: int, unanswered: int, place: int = 0, size: int = 8) -> GradedOrder:
    rows, nothing = np.arange(size), cast(Any, None)
    graded = replace(graded_group(size), calls=(rows < calling).astype(np.int32), unanswered=rows < unanswered)
    return GradedOrder([], nothing, graded, place)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("calling", "unanswered", "spoilt"), [(0, 0, False), (6, 0, False), (6, 3, False), (6, 4, True), (1, 1, True)]
)
def test_a_group_is_spoilt_if_most_of_its_calling_answers_were_not_answered(
    calling: int, unanswered: int, spoilt: bool
) -> None:
    assert TeacherOutage(60).spoilt(group(calling, unanswered)) is spoilt


def test_a_teacher_that_stays_silent_ends_the_run_and_the_message_says_how_to_go_on() -> None:
    clock = Clock()
    outage = TeacherOutage(60, clock)
    for clock.now in range(0, 61, 6):  # more often than one group alone is decoded again
        assert outage.spoilt(group(6, 6, place=0))
        assert outage.spoilt(group(1, 1, place=1))
        assert not outage.spoilt(group(0, 0, place=2))  # an answer without a call says nothing about the teacher
    clock.now = 61.0
    with pytest.raises(RolloutError, match=r"not answered for 61 s \(grpo.teacher_outage_s is 60\)"):
        outage.spoilt(group(6, 6))


def test_an_outage_is_told_once_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    outage = TeacherOutage(60, clock)
    for clock.now in (10.0, 20.0):
        outage.spoilt(group(6, 6))
    clock.now = 45.0
    outage.spoilt(group(6, 1))
    outage.spoilt(group(6, 0))
    begun, ended = (record.getMessage() for record in caplog.records)
    assert begun.startswith("the teacher does not answer: 6 of 6 calling answers")
    assert ended == "the teacher answers again after 35 s"
    clock.now = 200.0
    assert outage.spoilt(group(6, 6))  # a new outage has all of the time again


def test_a_group_that_fails_alone_is_learned_from_in_the_end(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    outage = TeacherOutage(60, clock)
    repeats = 0
    while outage.spoilt(group(1, 1)):
        repeats, clock.now = repeats + 1, clock.now + 3.0
    assert repeats == 11  # a teacher that is ended and started again is away for longer than a few repeats take
    assert "a group lost its calls 12 times; what is left of it is learned from" in caplog.text


def test_groups_that_fail_while_others_are_answered_are_learned_from_in_the_end() -> None:
    clock = Clock()
    outage = TeacherOutage(60, clock)
    assert outage.spoilt(group(1, 1, place=0)) and not outage.spoilt(group(4, 0, place=2))
    assert outage.spoilt(group(1, 1, place=1))
    left = {0, 1}
    while left:
        clock.now += 1.0
        left = {place for place in left if outage.spoilt(group(1, 1, place=place))}
    assert clock.now < 60.0
