"""The guard rails within Ray Serve: who asks, streams, clients that leave, and the limit on requests, over real HTTP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving.guards.guarded_app import KEY, KEYS

pytestmark = [pytest.mark.slow, pytest.mark.ray]
USER = {"authorization": f"Bearer {KEY}"}


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def serve_url(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of an ingress with guard rails, one place and no queue."""
    from ray import serve

    folder = str(tmp_path_factory.mktemp("ledger"))
    port = _free_port()

    def guarded() -> Any:
        from tests.serving.guards.guarded_app import Guarded

        return Guarded(Path(folder), keys=KEYS, max_concurrent=1, queue={"max_waiting": 0}).app

    @serve.deployment(ray_actor_options={"num_cpus": 0.1})
    @serve.ingress(guarded)
    class Ingress:
        pass

    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(Ingress.bind(), name="guarded")
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


async def test_keys_streams_and_budgets(serve_url: str) -> None:
    async with httpx.AsyncClient(base_url=serve_url, timeout=60, trust_env=False) as client:
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/v1/models")).status_code == 401
        assert (await client.get("/v1/models", headers=USER)).json() == "user"
        assert (await client.post("/v1/echo", headers=USER, content=b"x" * 2_000_000)).status_code == 413
        answer = await client.post("/v1/answer", headers=USER, json={"max_tokens": 20, "used": 3})
        assert answer.text.split() == ["data:", "20", "data:", "[DONE]"]


async def test_a_client_that_leaves_is_seen_and_its_place_is_free(serve_url: str) -> None:
    async with httpx.AsyncClient(base_url=serve_url, timeout=60, trust_env=False) as client:
        body = {"max_tokens": 2, "first": 1, "wait": True, "used": 2}
        async with client.stream("POST", "/v1/answer", headers=USER, json=body) as response:
            lines = response.aiter_lines()
            assert [await anext(lines) for _ in range(3)] == ["data: 2", "", "data: first"]
            busy = await client.post("/v1/echo", headers=USER)
            assert busy.status_code == 429 and int(busy.headers["retry-after"]) >= 1
        async with asyncio.timeout(30):
            while (again := await client.post("/v1/echo", headers=USER)).status_code == 429:
                await asyncio.sleep(0.05)
        assert again.status_code == 200
