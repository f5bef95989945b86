"""A server that is broken for a while goes on; one that stays broken ends with the reason."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.serving import server
from tests.serving.stack import settings

POLL_S = 5.0


class Ended(Exception):
    """There is no further status."""


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Give a function that watches a server which has these states, one at each look, and returns how many were seen."""

    def run(states: Sequence[str]) -> int:
        seen = 0

        def status(_: object) -> SimpleNamespace:
            nonlocal seen
            if seen == len(states):
                raise Ended
            seen += 1
            broken = SimpleNamespace(message="a replica died" if states[seen - 1] != "RUNNING" else "")
            return SimpleNamespace(status=states[seen - 1], message="", deployments={"student": broken})

        monkeypatch.setattr(server, "_status", status)
        monkeypatch.setattr(server, "time", SimpleNamespace(sleep=lambda _: None, monotonic=lambda: POLL_S * seen))
        try:
            server._watch(settings(start_timeout_s=4 * POLL_S))
        except Ended:
            return seen
        raise AssertionError

    return run


def test_a_replicas_death_is_told_once_and_so_is_its_return(watch, caplog: pytest.LogCaptureFixture) -> None:  # type: ignore[no-untyped-def]
    with caplog.at_level(logging.WARNING):
        watch(["RUNNING", "UNHEALTHY", "UNHEALTHY", "DEPLOYING", "RUNNING", "RUNNING"])
    assert [record.getMessage() for record in caplog.records] == [
        "the server is unhealthy: student: a replica died. What died is being restarted",
        "the server works again",
    ]


def test_a_server_that_stays_broken_ends(watch) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(server.ServerError, match="student: a replica died"):
        watch(["RUNNING", *["UNHEALTHY", "DEPLOYING"] * 5])


def test_a_ledger_that_cannot_be_used_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "a key of 16 letters")
    (ledger := tmp_path / "ledger.sqlite").write_text("no database, but a text that is long enough to be none" * 9)
    guards = {"keys": [{"name": "me", "key_env": "A_KEY"}], "ledger": str(ledger)}
    monkeypatch.setattr(server, "ray_session", None)
    with (
        pytest.raises(server.ServerError, match=r"ledger\.sqlite: cannot be used as a ledger"),
        server.running_server(settings(guards=guards, http={"port": 0})),
    ):
        pass


def test_each_time_that_it_works_it_may_break_anew(watch) -> None:  # type: ignore[no-untyped-def]
    states = ["RUNNING", "UNHEALTHY", "DEPLOYING", "UNHEALTHY"] * 5
    assert watch(states) == len(states)
