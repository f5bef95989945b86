"""Groups that a silent teacher has spoilt are not learned from, and a teacher that stays silent ends the run."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from actors.reward import GradedGroups
from benchmarks._stand_ins import graded_group
from pipelines.rollout.pool import RolloutError
from pipelines.rollout.teacher_outage import TeacherOutage


def group(calling: int, unanswered: int, size: int = 8) -> GradedGroups:
    rows = np.arange(size)
    return replace(graded_group(size), calls=(rows < calling).astype(np.int32), unanswered=rows < unanswered)


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
    for clock.now in (0.0, 30.0, 60.0):
        assert outage.spoilt(group(6, 6))
        assert not outage.spoilt(group(0, 0))  # an answer without a call says nothing about the teacher
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
    assert ended == "the teacher answers again after 35 s; 2 groups were or are decoded again"
    clock.now = 200.0
    assert outage.spoilt(group(6, 6))  # a new outage has all of the time again
