"""What a process counts becomes metrics, without Ray."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping

import pytest

from cluster.metrics.publisher import Publisher, Publishing, Reading, publish_actor, published

AT_ONCE = Publishing(run="demo", actor="rollout-0", every_s=0.001)


class Notes:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, float, dict[str, str]]] = []
        self.changed = threading.Event()

    def _note(self, kind: str, name: str, value: float, tags: Mapping[str, str]) -> None:
        self.told.append((kind, name, value, dict(tags)))
        self.changed.set()

    def set(self, name: str, value: float, tags: Mapping[str, str]) -> None:
        self._note("set", name, value, tags)

    def add(self, name: str, value: float, tags: Mapping[str, str]) -> None:
        self._note("add", name, value, tags)

    def observe(self, name: str, value: float, tags: Mapping[str, str]) -> None:
        self._note("observe", name, value, tags)


def test_a_counter_is_told_its_increase_by_tags() -> None:
    counts = {"student": 5.0, "teacher": 0.0}
    notes = Notes()
    publisher = Publisher(
        AT_ONCE, lambda: [Reading("relayllm_output_tokens", n, {"writer": who}) for who, n in counts.items()], notes
    )
    publisher.publish()
    publisher.publish()
    counts |= {"student": 12.0, "teacher": 3.0}
    publisher.publish()
    assert [(value, tags["writer"]) for _, _, value, tags in notes.told] == [
        (5.0, "student"),
        (7.0, "student"),
        (3.0, "teacher"),
    ]
    assert {kind for kind, *_ in notes.told} == {"add"}


def test_gauges_and_observations_pass_as_they_are_with_run_and_actor() -> None:
    notes = Notes()
    readings = [Reading("relayllm_memory_bytes", 0.0), Reading("relayllm_call_seconds", 0.2)]
    Publisher(AT_ONCE, lambda: readings, notes).publish()
    common = {"run": "demo", "actor": "rollout-0"}
    assert notes.told == [
        ("set", "relayllm_memory_bytes", 0.0, common),
        ("observe", "relayllm_call_seconds", 0.2, common),
    ]


def test_values_that_are_not_finite_are_left_out() -> None:
    notes = Notes()
    values = (math.nan, math.inf, 2.0)
    Publisher(AT_ONCE, lambda: [Reading("relayllm_policy_lag", value) for value in values], notes).publish()
    assert [value for _, _, value, _ in notes.told] == [2.0]


def test_a_failure_is_logged_once_and_publishing_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    notes, calls = Notes(), []

    def read() -> list[Reading]:
        calls.append(1)
        if len(calls) < 4:
            raise ValueError("the engine is being replaced")
        return [Reading("relayllm_policy_lag", 1.0)]

    publisher = Publisher(AT_ONCE, read, notes)
    publisher.start()
    assert notes.changed.wait(30)
    publisher.stop()
    warnings = [record for record in caplog.records if "could not be published" in record.message]
    assert len(warnings) == 1


def test_the_end_publishes_what_came_last() -> None:
    notes, value = Notes(), [1.0]
    publisher = Publisher(
        Publishing("demo", "driver", every_s=3600.0), lambda: [Reading("relayllm_policy_lag", value[0])], notes
    )
    publisher.start()
    assert notes.changed.wait(30)
    value[0] = 2.0
    publisher.stop()
    assert [told for _, _, told, _ in notes.told] == [1.0, 2.0]


def test_without_publishing_nothing_starts_and_ray_is_not_needed() -> None:
    def read() -> list[Reading]:
        raise AssertionError("nobody asked")

    before = threading.active_count()
    publish_actor(None, read)
    with published(None, read):
        assert threading.active_count() == before
