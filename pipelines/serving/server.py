"""Runs a relay server until it is stopped. Requests in flight are finished first."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.serving.guards.budgets import ledger_path
from actors.serving.guards.ledger import Ledger, LedgerError
from actors.serving.guards.settings import GuardSettings
from actors.serving.settings import HttpSettings, ServerSettings
from actors.serving.transport import environment_of_own_ray
from cluster.devices import Device
from cluster.errors import ClusterError, DeadlineError
from cluster.session import address_of, ray_session, verbose
from cluster.starting import told_while
from cluster.variables import variables

if TYPE_CHECKING:
    from ray.serve import Application

logger = logging.getLogger(__name__)

_POLL_S = 0.5
_SPARE_CPUS = 1


class ServerError(ClusterError):
    """The server could not start, or ended by itself; the message says why."""


@contextmanager
def running_server(settings: ServerSettings) -> Iterator[str]:
    """Start a server and yield its URL when it is ready. At the end of the block it is drained and stopped.

    Joins the cluster that RAY_ADDRESS names, or starts a local one that ends with the block. Raises `ServerError`, `DeadlineError` if
    the start takes too long. Raises what `application` does before anything is started.
    """
    from actors.serving.application import application

    settings = settings.model_copy(update={"http": _with_port(settings.http)})
    alone = settings.ingress_replicas == 1 and not address_of(None)  # Serve is started for this server only
    teacher = settings.teacher
    secrets = [] if teacher is None or teacher.api_key_env is None else [teacher.api_key_env]
    if alone and settings.guards.keys:
        _require_ledger(settings.guards)
    with ExitStack() as ends:
        ends.enter_context(variables(environment_of_own_ray(settings.http.port) if alone else {}))
        bound = application(settings)
        until_ray_has_ended = ends.enter_context(ExitStack())
        ends.enter_context(ray_session(f"relay-server-{settings.name}", None, *_needs(settings), secrets))
        ends.callback(lambda: until_ray_has_ended.enter_context(_hidden()))
        yield ends.enter_context(deployed(settings, bound, _port_beside(settings.http) if alone else None))


def _require_ledger(guards: GuardSettings) -> None:
    """Raise `ServerError` if the ledger's file cannot be used. The replicas would find out only after the engines' start."""
    try:
        Ledger(ledger_path(guards, Path.cwd()), guards.reservation_s)
    except LedgerError as error:
        raise ServerError(str(error)) from error


@contextmanager
def deployed(settings: ServerSettings, bound: Application, proxy_port: int | None = None) -> Iterator[str]:
    """Do the same with the server's application, on the cluster that this process is connected to.

    Clients talk to Serve's proxy, unless it gets a `proxy_port` of its own beside the server's. Raises `ServerError` if Serve
    runs something else on this cluster: it has one HTTP address for all.
    """
    from ray import serve

    if not verbose():
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
    http = _with_port(settings.http)
    if others := _applications():
        raise ServerError(
            f"Ray Serve on this cluster already runs: {', '.join(sorted(others))}. Stop that first: with Ctrl-C where it was "
            "started, or with `serve shutdown`. Or unset RAY_ADDRESS to serve on a Ray of its own"
        )
    try:
        serve.start(http_options={"host": http.host, "port": proxy_port or http.port})
        with told_while("the engines are not up yet"):
            try:
                serve.run(bound, name=settings.name, route_prefix="/", blocking=False)
            except RuntimeError as error:
                raise ServerError(f"the server could not start: {error}") from error
            _wait_until_running(settings)
        yield f"http://{_reachable(http.host)}:{http.port}"
        _drain(settings)
    finally:
        with _hidden():
            if _applications() - {settings.name}:  # somebody deployed another one beside this
                serve.delete(settings.name)
            else:
                serve.shutdown()


def serve_until_stopped(settings: ServerSettings, ready: Callable[[str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM. `ready` is told the URL. Raises `ServerError` if the server ends by itself."""
    with running_server(settings) as url:
        ready(url)
        try:
            _watch(settings)
        except KeyboardInterrupt:
            logger.info("finishing the requests in flight")


def _watch(settings: ServerSettings) -> None:
    """Raise `ServerError` when the server has not worked for as long as a start may take. Serve restarts what died."""
    worked_s = time.monotonic()
    is_told = False
    while True:
        time.sleep(10 * _POLL_S)
        status = _status(settings)
        if status.status == "RUNNING":
            if is_told:
                logger.warning("the server works again")
            worked_s, is_told = time.monotonic(), False
            continue
        if time.monotonic() - worked_s > settings.start_timeout_s:
            raise ServerError(_broken(status))
        if not is_told:
            logger.warning("%s. What died is being restarted", _broken(status))
            is_told = True


def curl_example(settings: ServerSettings, url: str) -> str:
    """Return a command that asks the server something."""
    import json
    import shlex

    question = settings.examples[0] if settings.examples else "What is 2 + 2?"
    body = json.dumps({"model": settings.name, "stream": True, "messages": [{"role": "user", "content": question}]})
    key = f" -H {_authorization(settings)}" if settings.guards.keys else ""
    return f"curl -N {url}/v1/chat/completions{key} -H 'Content-Type: application/json' -d {shlex.quote(body)}"


def _authorization(settings: ServerSettings) -> str:
    """Return the header with the first API key, as a shell writes it."""
    return f'"Authorization: Bearer ${settings.guards.keys[0].key_env or "API_KEY"}"'


def _needs(settings: ServerSettings) -> tuple[float, float]:
    teacher = None if settings.teacher is None else settings.teacher.local
    models = [model for model in (settings.student, teacher) if model is not None]
    replicas = sum(model.replicas for model in models)
    gpus = sum(model.replicas * model.engine.tensor_parallel for model in models)
    return replicas * settings.cpus_per_replica + _SPARE_CPUS, gpus if settings.device is Device.GPU else 0


def _with_port(http: HttpSettings) -> HttpSettings:
    """Return the address with a free port in place of 0. Raises `ServerError` if it cannot be bound."""
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((http.host, http.port))
        except OSError as error:
            raise ServerError(
                f"http.host = {http.host!r}, http.port = {http.port}: {error.strerror}; choose another port, or 0 for a free one"
            ) from error
        return http.model_copy(update={"port": probe.getsockname()[1]})


def _port_beside(http: HttpSettings) -> int:
    """Return another free port of the same address."""
    while (port := _with_port(http.model_copy(update={"port": 0})).port) == http.port:
        pass
    return port


def _reachable(host: str) -> str:
    """Return a host to ask from this machine."""
    named = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
    return f"[{named}]" if ":" in named and not named.startswith("[") else named


@contextmanager
def _hidden() -> Iterator[None]:
    """Hide what Ray prints to standard output while Serve ends: that calls of its controller fail, which they always do."""
    if verbose():
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield


def _applications() -> set[str]:
    """Return what Serve runs on this cluster; nothing if it cannot be asked."""
    from ray import serve
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    try:
        return set(serve.status().applications)
    except (RayError, RayServeException):
        return set()


def _status(settings: ServerSettings) -> Any:
    from ray import serve

    return serve.status().applications[settings.name]


def _wait_until_running(settings: ServerSettings) -> None:
    deadline = time.monotonic() + settings.start_timeout_s
    while (status := _status(settings)).status != "RUNNING":
        _check(settings)
        if time.monotonic() > deadline:
            raise DeadlineError(
                f"the server was not ready after {settings.start_timeout_s:g} s: raise start_timeout_s. {status.message}"
            )
        time.sleep(_POLL_S)


def _check(settings: ServerSettings) -> None:
    status = _status(settings)
    if status.status in ("DEPLOY_FAILED", "UNHEALTHY", "NOT_STARTED"):
        raise ServerError(_broken(status))


def _broken(status: Any) -> str:
    parts = [f"{name}: {one.message}" for name, one in status.deployments.items() if one.message]
    return f"the server is {status.status.lower()}: {'; '.join(filter(None, [status.message, *parts]))}"


def _drain(settings: ServerSettings) -> None:
    """Return when no request is in flight."""
    from ray import serve

    handle = serve.get_app_handle(settings.name)
    drained: set[str] = set()
    deadline = time.monotonic() + settings.deadline_s
    while len(drained) < settings.ingress_replicas and time.monotonic() < deadline:
        drained.add(handle.drain.remote().result(timeout_s=settings.deadline_s))
