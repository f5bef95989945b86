"""Checks a Ray cluster from outside: joins it in a process of its own, and looks at each node with one small task."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from pipelines.doctor.checks import Check
from pipelines.doctor.children import told_by
from pipelines.doctor.findings import Finding, Group, broken, of_mapping
from pipelines.experiment.schema import Experiment

LIMIT_S = 480.0
_CONNECT_S = 5.0
_START = "start it with ray start --head, and give its address and port; it needs the same token (RAY_AUTH_MODE=token)"


def cluster_checks(experiment: Experiment, address: str) -> list[Check]:
    """Return the check of a cluster, which is one process with a limit for all its nodes."""
    return [Check(Group.CLUSTER, "cluster", lambda: cluster(experiment, address), LIMIT_S + 10)]


def cluster(experiment: Experiment, address: str) -> Iterator[Finding]:
    """Yield what was found about the cluster as a whole, and about each node."""
    if refusal := _refusal(address):
        yield broken(Group.CLUSTER, "connection", f"{address}: {refusal}", _START)
        return
    settings = experiment.model_dump_json(by_alias=True, round_trip=True)
    told = told_by("pipelines.doctor.cluster_probe", [address, settings], LIMIT_S)
    for found in told.facts.values():
        yield from map(of_mapping, found)
    if told.failure:
        yield broken(Group.CLUSTER, "connection", f"{address}: {told.failure}", _START)


def _refusal(address: str) -> str | None:
    """Return why nothing listens at `host:port`; None if something does, or the address has another form.

    Ray itself would try for a minute.
    """
    parts = urlsplit(address if "://" in address else f"ray://{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return str(error)
    if host is None or port is None:
        return None
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_S):
            return None
    except OSError as error:
        return f"nothing answers: {error.strerror or error}"
