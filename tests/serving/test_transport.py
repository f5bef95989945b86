"""The port that an ingress replica listens on, and who else may have it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from actors.serving import transport


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        yield one


def test_a_replica_waits_until_its_one_port_is_free(taken: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            taken.close()

    for name, value in transport.environment_of_own_ray(taken.getsockname()[1]).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(transport, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: 0.0))
    transport.wait_for_port("127.0.0.1")
    assert len(waits) == 3


def test_it_gives_up_at_last_so_that_serve_can_say_why(taken: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 30))
    for name, value in transport.environment_of_own_ray(taken.getsockname()[1]).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(transport, "time", SimpleNamespace(sleep=lambda _: None, monotonic=lambda: next(clock)))
    transport.wait_for_port("127.0.0.1")


@pytest.mark.parametrize("ports", [(), (0, 1000)], ids=["none", "a choice of many"])
def test_in_another_ray_it_does_not_wait(
    taken: socket.socket, monkeypatch: pytest.MonkeyPatch, ports: tuple[int, ...]
) -> None:
    names = ["RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT", "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT"]
    for name in names:
        monkeypatch.delenv(name, raising=False)
    for name, after in zip(names, ports, strict=False):
        monkeypatch.setenv(name, str(taken.getsockname()[1] + after))
    monkeypatch.setattr(transport, "time", SimpleNamespace(sleep=pytest.fail, monotonic=lambda: 0.0))
    transport.wait_for_port("127.0.0.1")


def test_the_users_niceness_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_worker_niceness", raising=False)
    assert transport.environment_of_own_ray(1)["RAY_worker_niceness"] == "0"
    monkeypatch.setitem(os.environ, "RAY_worker_niceness", "7")
    assert transport.environment_of_own_ray(1)["RAY_worker_niceness"] == "7"
