"""The guard rails in front of a FastAPI app: over real HTTP where connections matter, in process elsewhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live import served
from tests.serving.guards.guarded_app import ADMIN_KEY, KEY, KEYS, Guarded

USER = {"authorization": f"Bearer {KEY}"}
ADMIN = {"authorization": f"Bearer {ADMIN_KEY}"}


def in_process(guarded: Guarded, client: tuple[str, int] = ("127.0.0.1", 123)) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(guarded.app, client=client), base_url="http://localhost")


def over_http(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=30, trust_env=False)


def error_of(response: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    return error


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))


async def raw(url: str, head: str, body: bytes = b"") -> bytes:
    """Send bytes as they are, and return all that comes back until the server closes the connection."""
    reader, writer = await connect(url)
    writer.write(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
    try:
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()


async def test_every_path_needs_a_key_except_the_open_ones(tmp_path: Path) -> None:
    async with in_process(Guarded(tmp_path, keys=KEYS)) as client:
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/openapi.json")).status_code == 200
        for method, path in (
            ("GET", "/v1/models"),
            ("POST", "/v1/echo"),
            ("POST", "/health"),
            ("GET", "/metrics"),
            ("GET", "/page"),
        ):
            response = await client.request(method, path)
            assert response.status_code == 401, path
            assert error_of(response)["code"] == "invalid_api_key"
        assert (await client.get("/v1/models", headers=USER)).json() == "user"
        assert (await client.get("/v1/models", headers={"authorization": "Bearer wrong"})).status_code == 401


async def test_admin_routes_need_an_admin_key(tmp_path: Path) -> None:
    async with in_process(Guarded(tmp_path, keys=KEYS)) as client:
        assert (await client.post("/admin/student", headers=ADMIN)).json() == "admin"
        refused = await client.post("/admin/student", headers=USER)
        assert refused.status_code == 403 and "admin: true" in error_of(refused)["message"]
        assert (await client.post("/admin/student")).status_code == 401


async def test_without_keys_admin_routes_are_for_this_machine(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path)
    async with in_process(guarded) as client:
        assert (await client.post("/admin/student")).json() == "anonymous"
        for forged in (
            {"x-forwarded-for": "127.0.0.1"},
            {"host": "rebound.example"},
            {"origin": "https://evil.example"},
        ):
            assert (await client.post("/admin/student", headers=forged)).status_code == 403, forged
    async with in_process(guarded, ("192.0.2.7", 123)) as client:
        response = await client.post("/admin/student", headers={"x-forwarded-for": "127.0.0.1"})
        assert response.status_code == 401 and "its own machine" in error_of(response)["message"]
        assert (await client.get("/v1/models")).status_code == 401


async def test_a_forged_forwarded_address_gives_no_admin_rights_over_real_http(tmp_path: Path) -> None:
    async with served(Guarded(tmp_path).app) as url, over_http(url) as client:
        assert (await client.post("/admin/student")).status_code == 200
        assert (await client.post("/admin/student", headers={"x-forwarded-for": "127.0.0.1"})).status_code == 403


async def test_a_body_at_the_limit_passes_and_a_larger_one_does_not(tmp_path: Path) -> None:
    async with served(Guarded(tmp_path, max_body_kib=4).app) as url, over_http(url) as client:
        assert (await client.post("/v1/echo", content=b"x" * 4096)).json() == 4096
        refused = await client.post("/v1/echo", content=b"x" * 4097)
        assert refused.status_code == 413 and "at most 4096 bytes" in error_of(refused)["message"]
        assert (await client.post("/admin/student", content=b"x" * 4097)).status_code == 413
        assert (await client.post("/v1/echo", content=b"")).json() == 0


async def test_a_chunked_body_is_counted_as_it_arrives(tmp_path: Path) -> None:
    async def chunks(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x" * 1024

    async with served(Guarded(tmp_path, max_body_kib=4).app) as url, over_http(url) as client:
        assert (await client.post("/v1/echo", content=chunks(4))).json() == 4096
        endless = await raw(
            url,
            "POST /v1/echo HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked",
            (b"400\r\n" + b"x" * 1024 + b"\r\n") * 5,  # and no end
        )
        assert endless.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("length", ["99999999999999999999999", "5000"])
async def test_a_large_content_length_is_refused_before_the_body(tmp_path: Path, length: str) -> None:
    async with served(Guarded(tmp_path, max_body_kib=4).app) as url:
        answer = await raw(url, f"POST /v1/echo HTTP/1.1\nHost: localhost\nContent-Length: {length}")
        assert answer.startswith((b"HTTP/1.1 413", b"HTTP/1.1 400"))


async def test_a_content_length_that_lies_does_not_pass_a_body_of_another_size(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, max_body_kib=1)
    sent: list[Any] = []
    parts = [{"type": "http.request", "body": b"x" * 800, "more_body": True}] * 2

    async def receive() -> Any:
        return parts.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-length", b"10")]
    scope = {"type": "http", "method": "POST", "path": "/v1/echo", "headers": headers, "client": ("127.0.0.1", 1)}
    await guarded.app(scope, receive, send)
    assert sent[0]["status"] == 413


async def test_a_body_that_does_not_arrive_is_given_up(tmp_path: Path) -> None:
    async with served(Guarded(tmp_path, body_timeout_s=0.05).app) as url:
        answer = await raw(url, "POST /v1/echo HTTP/1.1\nHost: localhost\nContent-Length: 10", b"half")
        assert answer.startswith(b"HTTP/1.1 408") and b'"code": "request_timeout"' in answer


async def test_requests_beyond_the_queue_are_told_when_to_come_back(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, max_concurrent=1, queue={"max_waiting": 0})
    async with served(guarded.app) as url, over_http(url) as client:
        first = asyncio.create_task(client.post("/v1/held"))
        await guarded.begun.wait()
        refused = await client.post("/v1/held")
        assert refused.status_code == 429 and error_of(refused)["code"] == "too_many_requests"
        assert int(refused.headers["retry-after"]) >= 1
        assert (await client.get("/health")).status_code == 200
        guarded.go.set()
        assert (await first).json() == "done"
        assert (await client.post("/v1/held")).json() == "done"


async def test_a_client_that_leaves_the_queue_frees_its_place(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, max_concurrent=1, queue={"max_waiting": 1, "max_wait_s": 60})
    async with served(guarded.app) as url, over_http(url) as client:
        first = asyncio.create_task(client.post("/v1/held"))
        await guarded.begun.wait()
        _, writer = await connect(url)
        writer.write(b"POST /v1/held HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        await until(lambda: guarded.admission.waiting == 1)
        writer.close()
        await until(lambda: guarded.admission.waiting == 0)
        assert guarded.admission.running == 1
        guarded.go.set()
        await first


@pytest.mark.parametrize("path", ["/v1/held", "/v1/floods"])
async def test_an_answer_ends_with_its_client_and_its_place_is_free_again(tmp_path: Path, path: str) -> None:
    guarded = Guarded(tmp_path, max_concurrent=1)
    async with served(guarded.app) as url:
        _, writer = await connect(url)
        writer.write(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        await guarded.begun.wait()
        writer.close()
        assert await guarded.admission.drained(20)
        assert guarded.gone.is_set() == (path == "/v1/held")


async def test_a_client_that_never_reads_loses_its_place(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, body_timeout_s=0.5, max_concurrent=1)
    async with served(guarded.app) as url:
        _, writer = await connect(url)
        writer.write(b"POST /v1/floods HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
        await guarded.begun.wait()
        assert await guarded.admission.drained(20)
        writer.close()


async def test_a_stream_goes_out_piece_by_piece(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path)
    async with served(guarded.app) as url, over_http(url) as client:
        body = {"max_tokens": 9, "first": 1, "wait": True, "used": 2}
        async with client.stream("POST", "/v1/answer", json=body) as response:
            lines = response.aiter_lines()
            seen = [await anext(lines) for _ in range(3)]
            assert seen[2] == "data: first" and not guarded.gone.is_set()  # the answer is not at its end
            guarded.go.set()
            assert [line async for line in lines if line] == ["data: [DONE]"]


async def test_a_drain_lets_streams_end_and_refuses_the_rest(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path)
    async with served(guarded.app) as url, over_http(url) as client:
        async with client.stream("POST", "/v1/answer", json={"max_tokens": 9, "wait": True, "used": 2}) as response:
            lines = response.aiter_lines()
            await anext(lines)
            guarded.admission.drain()
            refused = await client.post("/v1/echo")
            assert refused.status_code == 503 and error_of(refused)["code"] == "draining"
            assert int(refused.headers["retry-after"]) >= 1
            assert not await guarded.admission.drained(0.01)
            guarded.go.set()
            assert "data: [DONE]" in [line async for line in lines]
        assert await guarded.admission.drained(20)


async def test_a_day_budget_holds_and_names_midnight(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, keys=KEYS)
    async with served(guarded.app) as url, over_http(url) as client:
        for used, allowed in ((12, "20"), (10, "18"), (8, "8")):
            answer = await client.post("/v1/answer", headers=USER, json={"max_tokens": 20, "used": used})
            assert answer.text.splitlines()[0] == f"data: {allowed}"
            while guarded.ledger.held("user").teacher_tokens:  # the client has its answer before it is settled
                await asyncio.sleep(0.005)
        refused = await client.post("/v1/answer", headers=USER, json={"max_tokens": 20, "used": 1})
        error = error_of(refused)
        assert refused.status_code == 429 and error["code"] == "budget_exceeded" and "midnight UTC" in error["message"]
        assert 0 < int(refused.headers["retry-after"]) <= 86_400
        assert guarded.ledger.used("user").teacher_tokens == 30
        unlimited = await client.post("/v1/answer", headers=ADMIN, json={"max_tokens": 20, "used": 1})
        assert unlimited.text.splitlines()[0] == "data: None"


@pytest.mark.parametrize(("body", "charged"), [({"first": 3}, 3), ({}, 20)])
async def test_a_client_who_leaves_pays_for_what_was_noted_or_for_all(
    tmp_path: Path, body: dict[str, int], charged: int
) -> None:
    guarded = Guarded(tmp_path, keys=KEYS)
    async with served(guarded.app) as url:
        content = json.dumps({"max_tokens": 20, "used": 9, "wait": True} | body).encode()
        reader, writer = await connect(url)
        head = (
            f"POST /v1/answer HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"
        )
        writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        await reader.readuntil(b"data: 20\n\n" if not body else b"data: first\n\n")
        writer.close()
        await asyncio.wait_for(guarded.gone.wait(), 20)
        assert await guarded.admission.drained(20)
        await guarded.budgets.settled()
    assert guarded.ledger.used("user").teacher_tokens == charged
    assert guarded.ledger.held("user").teacher_tokens == 0


async def test_websockets_are_closed(tmp_path: Path) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    await Guarded(tmp_path).app({"type": "websocket", "path": "/v1/echo", "headers": []}, receive, send)
    assert sent[0]["type"] == "websocket.close"


async def until(condition: Any) -> None:
    """Wait for something in the server that has no event."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)
