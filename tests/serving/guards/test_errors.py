"""Every error of an app has OpenAI's form, and says what would be right."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, Field

from actors.serving.guards.errors import add_error_handlers
from actors.serving.guards.refusals import Refusal


class Body(BaseModel):
    count: int = Field(ge=1)
    name: str | None = None


def app() -> FastAPI:
    app = FastAPI()
    add_error_handlers(app)

    @app.post("/answer")
    async def answer(body: Body) -> int:
        return body.count

    @app.get("/fault")
    async def fault() -> None:
        raise RuntimeError("the secret is 1234")

    @app.get("/refusal")
    async def refusal() -> None:
        raise Refusal(429, "ähm \ud800", kind="rate_limit_error", code="a", param="b", retry_after_s=0.2)

    return app


def client() -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app(), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


async def error(method: str, path: str, **options: Any) -> tuple[int, dict[str, Any]]:
    async with client() as asked:
        response = await asked.request(method, path, **options)
    body = response.json()
    assert set(body) == {"error"} and set(body["error"]) == {"message", "type", "param", "code"}
    return response.status_code, body["error"]


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"count": 0}, "count", "count: Input should be greater than or equal to 1; got 0"),
        ({}, "count", "count should be there, and is missing"),
        ({"count": "\ud800"}, "count", "got '\\ud800'"),
        ({"count": 1, "name": ["x" * 500]}, "name", "…"),
        ([], None, "the body should be a JSON object"),
        (None, None, "the body should be a JSON object"),
    ],
)
async def test_a_wrong_body_is_a_400_that_names_the_key(body: Any, param: str | None, message: str) -> None:
    import json

    content = {"content": json.dumps(body), "headers": {"content-type": "application/json"}} if body is not None else {}
    status, found = await error("POST", "/answer", **content)
    assert (status, found["param"]) == (400, param)
    assert message in found["message"] and len(found["message"]) < 250


async def test_a_body_that_is_no_json_is_a_400() -> None:
    headers = {"content-type": "application/json"}
    for content in (b"{", b"\xff", b"[" * 100_000):
        assert (await error("POST", "/answer", content=content, headers=headers))[0] == 400


async def test_unknown_paths_and_methods_have_the_form() -> None:
    assert (await error("GET", "/none"))[0] == 404
    status, found = await error("GET", "/answer")
    assert status == 405 and found["type"] == "invalid_request_error"


async def test_a_fault_says_nothing_of_its_cause() -> None:
    status, found = await error("GET", "/fault")
    assert status == 500 and "secret" not in found["message"] and found["type"] == "server_error"


async def test_a_refusal_keeps_its_parts_and_rounds_the_wait_up() -> None:
    async with client() as asked:
        response = await asked.get("/refusal")
    assert response.status_code == 429 and response.headers["retry-after"] == "1"
    assert response.json()["error"] == {"message": "ähm \ud800", "type": "rate_limit_error", "param": "b", "code": "a"}
