"""As much of a W&B server as a sweep of two trials needs: it gives out trials, and keeps what the runs send."""

from __future__ import annotations

import gzip
import json
import threading
from typing import Any

import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

_PROJECT = {"id": "p1", "name": "relayllm", "entity": {"id": "e1", "name": "me"}}
_VIEWER = {
    "id": "u1", "entity": "me", "username": "me", "name": "me", "admin": False, "flags": "{}", "email": "me@example.org",
    "teams": {"edges": []}, "apiKeys": {"edges": []}, "defaultEntity": {"name": "me"},
}  # fmt: skip
_VERSIONS = {"cliVersionInfo": {"min_cli_version": "0.1", "max_cli_version": "99"}, "latestLocalVersionInfo": None}


class WandbServer:
    """The server's state: `trials` are the values that it gives out, in turn, by run id."""

    def __init__(self, trials: dict[str, dict[str, Any]]) -> None:
        self.left = dict(trials)
        self.config: dict[str, Any] = {}
        """of the sweep, as `wandb sweep` sent it"""
        self.buckets: list[dict[str, Any]] = []
        """what each run said of itself"""
        self.history: dict[str, list[dict[str, Any]]] = {}
        """rows of each run, by its id"""
        self.exits: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/graphql", self._graphql, methods=["POST"]),
                Route("/files/{entity}/{project}/{run}/file_stream", self._stream, methods=["POST"]),
                Route("/{rest:path}", self._other, methods=["GET", "PUT", "POST"]),
            ]
        )

    async def _graphql(self, request: Request) -> Response:
        asked = json.loads(await _body(request))
        query, variables = asked["query"], asked.get("variables") or {}
        with self._lock:
            return JSONResponse({"data": self._answer(query, variables, str(request.base_url))})

    def _answer(self, query: str, variables: dict[str, Any], url: str) -> dict[str, Any]:
        if "upsertSweep(" in query:
            self.config = yaml.safe_load(variables["config"])
            sweep = {"id": "s1", "name": "sweep1", "project": _PROJECT}
            return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}
        if "createAgent(" in query:
            return {"createAgent": {"agent": {"id": "agent1"}}}
        if "agentHeartbeat(" in query:
            running = json.loads(variables.get("runState") or "{}")
            return {"agentHeartbeat": {"agent": {"id": "agent1"}, "commands": json.dumps(self._commands(running))}}
        if "upsertBucket(" in query:
            self.buckets.append(variables)
            name = variables.get("name") or variables.get("id")
            bucket = {
                "id": f"bucket-{name}", "name": name, "displayName": name, "description": "", "config": "{}",
                "sweepName": "sweep1", "project": _PROJECT, "historyLineCount": 0,
            }  # fmt: skip
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if "createRunFiles(" in query:
            files = [{"name": name, "uploadUrl": f"{url}upload/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "bucket", "uploadHeaders": [], "files": files}}
        if "sweep(" in query:
            sweep = {"id": "s1", "name": "sweep1", "state": "RUNNING", "config": yaml.safe_dump(self.config)}
            return {"project": {"sweep": {**sweep, "runs": {"edges": []}}}}
        found: dict[str, Any] = {}
        if "viewer" in query:
            found["viewer"] = _VIEWER
        if "serverInfo" in query:
            found["serverInfo"] = _VERSIONS
        if "model(" in query or "bucket(" in query:
            found["model"] = found["project"] = None
        return found

    def _commands(self, running: dict[str, Any]) -> list[dict[str, Any]]:
        """Give out one trial after the other, and end the agent after the last one."""
        if any(running.values()):
            return []
        if not self.left:
            return [{"type": "exit"}]
        run = next(iter(self.left))
        values = self.left.pop(run)
        args = {key: {"value": value} for key, value in values.items()}
        return [{"type": "run", "run_id": run, "program": self.config["program"], "args": args}]

    async def _stream(self, request: Request) -> Response:
        sent = json.loads(await _body(request))
        rows = sent.get("files", {}).get("wandb-history.jsonl", {}).get("content", [])
        run = request.path_params["run"]
        with self._lock:
            self.history.setdefault(run, []).extend(map(json.loads, rows))
            if sent.get("complete"):
                self.exits[run] = sent["exitcode"]
        return JSONResponse({})

    async def _other(self, request: Request) -> Response:
        return JSONResponse({})


async def _body(request: Request) -> bytes:
    body = await request.body()
    return gzip.decompress(body) if request.headers.get("content-encoding") == "gzip" else body
