"""Which addresses are this machine's own, and whether a server may listen on one without API keys."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence

from actors.serving.guards.settings import GuardSettings
from cluster.errors import RunError

Resolve = Callable[[str], Iterable[str]]
"""returns the IP addresses of a name; raises OSError if it has none"""


class BindError(RunError):
    """The server may not listen on an address. The message says what would be right."""


def addresses_of(name: str) -> list[str]:
    """Return the IP addresses of a host. Raises OSError if it has none."""
    return [str(found[4][0]) for found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]


def is_loopback_address(address: str) -> bool:
    """Return whether this is an IP address that only this machine can reach."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped.is_loopback
    return ip.is_loopback


def is_loopback(host: str, resolve: Resolve = addresses_of) -> bool:
    """Return whether a server on `host` can be reached from this machine only.

    A name counts as loopback if all its addresses do. An unknown name, and an empty one, count as public.
    """
    bare = host.strip().removeprefix("[").removesuffix("]")
    if not bare:
        return False
    if is_loopback_address(bare):
        return True
    try:
        found = list(resolve(bare))
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(map(is_loopback_address, found))


def check_bind(host: str, settings: GuardSettings, resolve: Resolve = addresses_of) -> None:
    """Raise `BindError` if others could reach the server and no API key is set."""
    if settings.keys or is_loopback(host, resolve):
        return
    raise BindError(
        f"http.host ({host}) should be 127.0.0.1, ::1 or localhost as long as guards.keys is empty: others could reach the server, "
        "and use the models without a limit. Set an API key, as in guards.keys=[{name: me, key_env: RELAY_API_KEY}]"
    )


def is_local_request(client: Sequence[object] | None, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a request surely comes from a program on this machine. Any doubt is a no.

    The peer has to be loopback. A proxy on this machine has such an address too, so a request that names a proxy or a
    forwarded address is not local, whatever address it names. A browser may be made to ask by another site's page: so the
    host asked for has to be a loopback name, and an origin, if there is one, too.
    """
    if client is None or not is_loopback_address(str(client[0])):
        return False
    for name, value in headers:
        lower = name.lower()
        if lower in _PROXY_HEADERS or lower.startswith(b"x-forwarded-"):
            return False
        if lower == b"host" and not _names_loopback(value.decode("latin-1")):
            return False
        if lower == b"origin" and not _names_loopback(value.decode("latin-1").partition("://")[2]):
            return False
    return True


_PROXY_HEADERS = frozenset({b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"cf-connecting-ip", b"true-client-ip"})


def _names_loopback(authority: str) -> bool:
    """Return whether `host[:port]` is written as a loopback address or as localhost. No name is looked up."""
    host = authority.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    return host.lower() in ("localhost", "localhost.") or is_loopback_address(host)
