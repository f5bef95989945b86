"""Pending tasks: each task once, when it is finished or late, whatever the order."""

import threading
import time
from concurrent.futures import Future
from typing import Any

import pytest

from pipelines.rollout.pending_tasks import LateError, PendingTasks


class Reference:
    def __init__(self) -> None:
        self.result: Future[Any] = Future()

    def future(self) -> Future[Any]:
        return self.result


def started(pending: PendingTasks[str], *keys: str) -> dict[str, Future[Any]]:
    references = {key: Reference() for key in keys}
    for key, reference in references.items():
        pending.add(key, reference)
    return {key: reference.result for key, reference in references.items()}


def test_finished_calls_are_returned_once_in_the_order_of_their_end() -> None:
    pending: PendingTasks[str] = PendingTasks(deadline_s=60)
    calls = started(pending, "a", "b", "c")
    calls["c"].set_result(3)
    calls["a"].set_result(1)
    assert [(call.key, call.outcome()) for call in pending.next(5)] == [("c", 3), ("a", 1)]
    assert pending.next(0) == []
    assert len(pending) == 1


def test_a_call_that_ends_later_is_waited_for() -> None:
    pending: PendingTasks[str] = PendingTasks(deadline_s=60)
    calls = started(pending, "a")
    threading.Timer(0.05, calls["a"].set_result, [1]).start()
    assert [call.key for call in pending.next(60)] == ["a"]


def test_a_call_past_its_deadline_is_late_and_does_not_come_again() -> None:
    pending: PendingTasks[str] = PendingTasks(deadline_s=0.05)
    calls = started(pending, "a")
    (late,) = pending.next(60)
    with pytest.raises(LateError, match=r"no answer within 0\.05 s"):
        late.outcome()
    calls["a"].set_result(1)
    assert pending.next(0.01) == []


def test_only_the_late_ones_are_given_up() -> None:
    pending: PendingTasks[str] = PendingTasks(deadline_s=0.2)
    started(pending, "early")
    time.sleep(0.15)
    started(pending, "later")
    assert [call.key for call in pending.next(60)] == ["early"]
    assert [call.key for call in pending.next(60)] == ["later"]


def test_the_error_of_a_call_is_that_of_its_outcome() -> None:
    pending: PendingTasks[str] = PendingTasks(deadline_s=60)
    started(pending, "a")["a"].set_exception(ValueError("nothing works"))
    (call,) = pending.next(5)
    with pytest.raises(ValueError, match="nothing works"):
        call.outcome()


def test_nothing_to_wait_for_is_not_waited_for_longer_than_asked() -> None:
    assert PendingTasks[str](deadline_s=60).next(0.01) == []
