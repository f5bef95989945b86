"""Checks what a run asks over the network besides the hub: W&B, a teacher's server, and the store of its run_dir."""

from __future__ import annotations

import netrc
import os
from collections.abc import Iterator, Mapping

import httpx

from cluster.store.errors import StoreError
from cluster.store.objects import Objects
from pipelines.doctor.checks import first_line
from pipelines.doctor.findings import Finding, Group, broken, fine, warning
from pipelines.experiment.schema import Experiment
from pipelines.records.tracking import resolve_mode

_TIMEOUT_S = 10.0
_WANDB = "https://api.wandb.ai"
_VIEWER = {"query": "query Viewer { viewer { username } }"}


def wandb(experiment: Experiment, environ: Mapping[str, str] | None = None) -> Finding:
    """Return whether the run can log to W&B. Nothing here ends a run: without W&B it writes metrics.jsonl alone."""
    environ = os.environ if environ is None else environ
    mode = resolve_mode(experiment.tracking.mode, environ)
    if mode == "disabled":
        return fine(Group.SERVICES, "W&B", "off")
    if mode == "offline":
        return fine(Group.SERVICES, "W&B", f"offline: {experiment.directory}/wandb, to be sent with wandb sync")
    server = (environ.get("WANDB_BASE_URL") or _WANDB).rstrip("/")
    key = environ.get("WANDB_API_KEY") or _key_of_netrc(server, environ)
    if not key:
        text = f"online, and there is no key for {server}: the run will go on offline"
        return warning(Group.SERVICES, "W&B", text, "wandb login, or set WANDB_API_KEY; or tracking.mode=offline")
    try:
        answer = httpx.post(f"{server}/graphql", json=_VIEWER, auth=("api", key), timeout=_TIMEOUT_S)
    except httpx.HTTPError as error:
        text = f"{server} does not answer: {first_line(error)}; the run will go on offline"
        return warning(Group.SERVICES, "W&B", text, "check WANDB_BASE_URL and HTTPS_PROXY; or tracking.mode=offline")
    if answer.status_code != 200 or not _viewer(answer):
        text = f"{server} does not take the key (status {answer.status_code}); the run will go on offline"
        return warning(Group.SERVICES, "W&B", text, "wandb login --relogin, or correct WANDB_API_KEY")
    return fine(Group.SERVICES, "W&B", f"online at {server}, as {_viewer(answer)}")


def teachers(experiment: Experiment, environ: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """Yield whether each teacher behind HTTP answers, with the key that its variable holds."""
    from actors.engines.endpoint import Patience, UnsuitableServerError
    from actors.engines.openai_probe import reached

    environ = os.environ if environ is None else environ
    served = {"models.teacher": experiment.models.teacher.endpoint}
    if experiment.evaluation.teacher is not None:
        served["evaluation.teacher"] = experiment.evaluation.teacher.endpoint
    for key, server in served.items():
        if server is None:
            continue
        if server.api_key_env is not None and not environ.get(server.api_key_env):
            text = f"{server.base}: the variable {server.api_key_env} with its API key is not set here"
            yield broken(Group.SERVICES, key, text, f"export {server.api_key_env}=…, where the run is started")
            continue
        try:
            reached(server, experiment.teacher.engine.max_model_len, Patience(timeout_s=_TIMEOUT_S, max_retries=0))
        except UnsuitableServerError as error:
            yield broken(Group.SERVICES, key, first_line(error), f"start the server, or correct {key}.url")
        else:
            yield fine(Group.SERVICES, key, f"{server.model} at {server.base} answers")


def store(experiment: Experiment) -> Iterator[Finding]:
    """Yield whether the store of a `run_dir` that is a URL answers. Nothing is written to it."""
    if experiment.url is None:
        return
    try:
        Objects(experiment.url).require()
    except StoreError as error:
        text, _, remedy = first_line(error).rpartition(": ")
        yield broken(Group.SERVICES, "run_dir", text, remedy)
    else:
        yield fine(Group.SERVICES, "run_dir", f"{experiment.url}: the store answers")


def _key_of_netrc(server: str, environ: Mapping[str, str]) -> str | None:
    file = environ.get("NETRC") or os.path.join(environ.get("HOME", ""), ".netrc")
    try:
        login = netrc.netrc(file).authenticators(httpx.URL(server).host)
    except (OSError, netrc.NetrcParseError):
        return None
    return login[2] if login else None


def _viewer(answer: httpx.Response) -> str | None:
    """Return the user's name from W&B's answer; None if the key belongs to nobody."""
    try:
        return str(answer.json()["data"]["viewer"]["username"])
    except (ValueError, KeyError, TypeError):
        return None
