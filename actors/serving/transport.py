"""How the server's replicas talk to each other and to clients: over gRPC, in one event loop, and without Serve's proxy where it can."""

from __future__ import annotations

import os
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


def replica_environment() -> dict[str, str]:
    """Return what makes a replica run Serve's code and its own in one event loop, so that no token changes threads."""
    return {
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
        # Replicas and the controller must agree on it.
        "RAY_SERVE_ENABLE_DIRECT_INGRESS": str(int(has_no_proxy())),
    }


def has_no_proxy() -> bool:
    """Return whether clients reach the ingress replicas without Serve's proxy. Serve's own variables say so."""
    return "1" in map(os.environ.get, ("RAY_SERVE_ENABLE_DIRECT_INGRESS", "RAY_SERVE_ENABLE_HA_PROXY"))


def without_proxy(port: int) -> dict[str, str]:
    """Return the environment of a cluster whose one ingress replica listens to clients itself, on `port`.

    Set it before Ray starts and before Serve is imported. Serve's proxy is then not in the way of a token.
    """
    return {
        "RAY_SERVE_ENABLE_DIRECT_INGRESS": "1",
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(port),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(port + 1),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",  # there is no load balancer that has to notice
        "RAY_SERVE_PORT_QUARANTINE_S": "0",  # a restarted ingress replica takes the same port
    }
