"""Actors on demand: begun in the background once, waited for by the first who needs them, ended with the block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.models.base_models import BaseModels
from pipelines.system import on_demand
from pipelines.system.on_demand import SystemOnDemand

MODELS, OTHERS = BaseModels("student", "teacher", "teacher"), BaseModels("student", "other", "other")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    log: list[str] = []

    @contextmanager
    def starting_system(experiment: Any, models: BaseModels, parts: Any, watch: Any) -> Iterator[Callable[[], Any]]:
        log.append(f"begin {models.teacher}")

        def wait() -> Any:
            log.append(f"wait {models.teacher}")
            return SimpleNamespace(name=models.teacher)

        yield wait
        log.append(f"end {models.teacher}")

    monkeypatch.setattr(on_demand, "starting_system", starting_system)
    return log


def test_what_was_begun_is_waited_for_once(log: list[str]) -> None:
    experiment: Any = None
    with SystemOnDemand() as actors:
        actors.begin(experiment, MODELS, ())
        assert log == ["begin teacher"]
        assert actors.get(experiment, MODELS, ()) is actors.get(experiment, MODELS, ())
    assert log == ["begin teacher", "wait teacher", "end teacher"]


def test_actors_that_nobody_needed_are_ended(log: list[str]) -> None:
    experiment: Any = None
    with SystemOnDemand() as actors:
        actors.begin(experiment, MODELS, ())
    assert log == ["begin teacher", "end teacher"]


def test_another_teacher_takes_the_place_of_the_first(log: list[str]) -> None:
    experiment: Any = None
    with SystemOnDemand() as actors:
        actors.get(experiment, MODELS, ())
        actors.get(experiment, OTHERS, ())
    assert log == ["begin teacher", "wait teacher", "end teacher", "begin other", "wait other", "end other"]
