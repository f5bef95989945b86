"""How the server's replicas talk to each other and to clients: over gRPC, and without Serve's proxy where that can be."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle


def following(handle: DeploymentHandle[Any], session: str) -> DeploymentHandle[AsyncIterator[Any]]:
    """Return a handle whose methods are streams. Calls of one session go to one replica.

    Ray's object store would hold each item of a stream as an object; gRPC sends it at once, and costs half.
    """
    return handle.options(
        stream=True,
        session_id=session,
        _by_reference=False,
        request_serialization="pickle",
        response_serialization="pickle",
    )


REPLICA_ENVIRONMENT = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
}
"""makes a replica run Serve's code and its own in one event loop, so that a token does not change threads between them"""

_NICENESS = "RAY_worker_niceness"
_PORT, _PORT_AFTER = "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT", "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT"
_TIME_WAIT_S = 90.0
"""longer than Linux keeps a port that had connections"""


def environment_of_own_ray(port: int) -> dict[str, str]:
    """Return the environment of a Ray that is started for one server with one ingress replica, which listens to clients on `port`.

    Set it before Ray starts. Serve's proxy is then not in the way of a token.
    """
    return {
        # By default every other program of the machine goes before the replicas.
        _NICENESS: os.environ.get(_NICENESS, "0"),
        "RAY_SERVE_ENABLE_DIRECT_INGRESS": "1",
        _PORT: str(port),
        _PORT_AFTER: str(port + 1),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",  # there is no load balancer that has to notice
        "RAY_SERVE_PORT_QUARANTINE_S": "0",  # a restarted ingress replica takes the same port
    }


def wait_for_port(host: str) -> None:
    """Wait until this replica can listen on the one port of `environment_of_own_ray`. Return at once where there is none, or a choice.

    If a replica died with connections open, Linux keeps the port for a minute. Serve tries it once, and then never again.
    """
    port, until_s = int(os.environ.get(_PORT, 0)), time.monotonic() + _TIME_WAIT_S
    if os.environ.get(_PORT_AFTER) != str(port + 1):
        return
    while time.monotonic() < until_s:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                time.sleep(0.5)
            else:
                return
