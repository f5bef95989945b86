"""While Ray and actors start, a line says what is not up yet; a failure ends the wait at once."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from threading import enumerate as enumerate_threads
from typing import Any

import pytest
import ray

from cluster.errors import DeadlineError
from cluster.starting import told_while, watch_start


@ray.remote(num_cpus=0, max_concurrency=4)
class _Actor:
    def __init__(self) -> None:
        self._may_answer = Event()

    def ready(self) -> None:
        self._may_answer.wait()

    def let_answer(self) -> None:
        self._may_answer.set()

    def fail(self) -> None:
        raise ValueError("no such model")


def test_what_goes_on_is_told_until_it_ends() -> None:
    told: list[str] = []
    twice = Event()

    def tell(line: str) -> None:
        told.append(line)
        if len(told) == 2:
            twice.set()

    with told_while("Ray is not up yet", every_s=0.01, tell=tell):
        assert twice.wait(60.0)
    assert told[0] == "after 0 s Ray is not up yet"
    assert "told-while" not in [thread.name for thread in enumerate_threads()]


def test_what_ends_soon_is_not_told() -> None:
    told: list[str] = []
    with told_while("Ray is not up yet", every_s=60.0, tell=told.append):
        pass
    assert told == []


@pytest.fixture
def actors(ray_cluster: None) -> Iterator[dict[str, Any]]:
    start: Any = _Actor
    actors = {name: start.remote() for name in ("teacher", "rollout-0")}
    yield actors
    for actor in actors.values():
        ray.kill(actor)


@pytest.mark.ray
def test_a_line_names_the_actors_that_are_not_up_until_all_are(actors: dict[str, Any]) -> None:
    calls = {name: actor.ready.remote() for name, actor in actors.items()}
    told: list[str] = []
    late = iter(["teacher", "rollout-0"])

    def tell(line: str) -> None:
        told.append(line.partition(" s ")[2])
        if (name := next(late, None)) is not None:
            ray.get(actors[name].let_answer.remote())
            ray.get(calls[name])

    watch_start(calls, 60.0, every_s=0.05, tell=tell)
    assert told == ["not up yet: teacher, rollout-0", "not up yet: rollout-0"]
    ray.get(list(calls.values()))


@pytest.mark.ray
def test_a_start_that_fails_is_not_waited_for(actors: dict[str, Any]) -> None:
    calls = {"teacher": actors["teacher"].ready.remote(), "rollout-0": actors["rollout-0"].fail.remote()}
    watch_start(calls, 60.0)
    ended, _ = ray.wait([calls["rollout-0"]], timeout=0)
    with pytest.raises(ValueError, match="no such model"):
        ray.get(ended)


@pytest.mark.ray
def test_after_the_deadline_the_error_names_the_actors_and_the_key(actors: dict[str, Any]) -> None:
    call = actors["teacher"].ready.remote()
    with pytest.raises(
        DeadlineError, match=r"^the start of teacher took more than 0\.2 s: raise cluster\.start_timeout_s"
    ):
        watch_start({"teacher": call}, 0.2)
