"""Which hosts are loopback, when a public one is refused, and which requests come from this machine."""

from collections.abc import Iterable

import pytest

from actors.serving.guards.addresses import BindError, check_bind, is_local_request, is_loopback
from actors.serving.guards.settings import GuardSettings

NAMES = {
    "localhost": ["127.0.0.1", "::1"],
    "here.example": ["127.0.1.1"],
    "both.example": ["127.0.0.1", "192.0.2.7"],
    "out.example": ["192.0.2.7"],
    "127.1": ["127.0.0.1"],
    "none.example": [],
}


def resolve(name: str) -> Iterable[str]:
    if name not in NAMES:
        raise OSError("unknown host")
    return NAMES[name]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.8.9.1",
        "::1",
        "[::1]",
        "0:0:0:0:0:0:0:1",
        "::ffff:127.0.0.1",
        "localhost",
        "here.example",
        "127.1",
    ],
)
def test_loopback_hosts_need_no_key(host: str) -> None:
    assert is_loopback(host, resolve)
    check_bind(host, GuardSettings(), resolve)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "0.0.0.0",
        "::",
        "[::]",
        "192.0.2.7",
        "::ffff:192.0.2.7",
        "fe80::1%eth0",
        "both.example",
        "out.example",
        "none.example",
        "?",
    ],
)
def test_public_and_unknown_hosts_need_a_key(host: str) -> None:
    with pytest.raises(BindError, match=r"http\.host .* should be 127\.0\.0\.1, ::1 or localhost"):
        check_bind(host, GuardSettings(), resolve)
    check_bind(host, GuardSettings.model_validate({"keys": [{"name": "a", "key_env": "A"}]}), resolve)


def test_localhost_is_loopback_by_the_systems_own_names() -> None:
    assert is_loopback("localhost")


@pytest.mark.parametrize(
    ("client", "headers"),
    [
        (("127.0.0.1", 5), [(b"host", b"127.0.0.1:8000")]),
        (("::1", 5), [(b"host", b"[::1]:8000")]),
        (("127.0.0.1", 5), [(b"host", b"localhost:8000"), (b"origin", b"http://localhost:8000")]),
        (["::ffff:127.0.0.1", 5], []),
    ],
)
def test_requests_of_this_machine(client: tuple[str, int], headers: list[tuple[bytes, bytes]]) -> None:
    assert is_local_request(client, headers)


@pytest.mark.parametrize(
    ("client", "headers"),
    [
        (None, []),
        (("192.0.2.7", 5), []),
        (("192.0.2.7", 5), [(b"x-forwarded-for", b"127.0.0.1")]),
        (("127.0.0.1", 5), [(b"X-Forwarded-For", b"127.0.0.1")]),
        (("127.0.0.1", 5), [(b"x-forwarded-host", b"localhost")]),
        (("127.0.0.1", 5), [(b"forwarded", b"for=127.0.0.1")]),
        (("127.0.0.1", 5), [(b"via", b"1.1 proxy")]),
        (("127.0.0.1", 5), [(b"host", b"rebound.example:8000")]),
        (("127.0.0.1", 5), [(b"host", b"127.0.0.1.example")]),
        (("127.0.0.1", 5), [(b"origin", b"https://evil.example")]),
        (("127.0.0.1", 5), [(b"origin", b"null")]),
        (("unix:", 0), []),
    ],
)
def test_requests_that_may_come_from_elsewhere(
    client: tuple[str, int] | None, headers: list[tuple[bytes, bytes]]
) -> None:
    assert not is_local_request(client, headers)
