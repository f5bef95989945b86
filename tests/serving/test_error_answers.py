"""Every error of an app has OpenAI's form."""

from __future__ import annotations

import pickle
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from actors.serving.error_answers import add_error_handlers
from actors.serving.errors import ApiError


def app() -> FastAPI:
    app = FastAPI()
    add_error_handlers(app)

    @app.get("/fault")
    async def fault() -> None:
        raise RuntimeError("the secret is 1234")

    @app.get("/refused")
    async def refused() -> None:
        raise ApiError(429, "ähm \ud800", code="a", param="b", retry_after_s=0.2)

    return app


async def error(method: str, path: str) -> tuple[httpx.Response, dict[str, Any]]:
    transport = httpx.ASGITransport(app(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        response = await client.request(method, path)
    body = response.json()
    assert set(body) == {"error"} and set(body["error"]) == {"message", "type", "param", "code"}
    return response, body["error"]


async def test_unknown_paths_and_methods_have_the_form() -> None:
    response, found = await error("GET", "/none")
    assert (response.status_code, found["type"]) == (404, "not_found_error")
    response, found = await error("POST", "/fault")
    assert (response.status_code, found["type"]) == (405, "invalid_request_error")
    assert response.headers["allow"] == "GET"


async def test_a_fault_says_nothing_of_its_cause() -> None:
    response, found = await error("GET", "/fault")
    assert response.status_code == 500 and "secret" not in found["message"] and found["type"] == "server_error"


async def test_an_error_keeps_its_parts_and_rounds_the_wait_up() -> None:
    response, found = await error("GET", "/refused")
    assert response.status_code == 429 and response.headers["retry-after"] == "1"
    assert found == {"message": "ähm \ud800", "type": "rate_limit_error", "param": "b", "code": "a"}


@pytest.mark.parametrize("status", [400, 401, 413, 503])
def test_an_error_crosses_processes_whole(status: int) -> None:
    error = ApiError(status, "no", param="a", code="b", retry_after_s=3, headers={"allow": "GET"})
    again = pickle.loads(pickle.dumps(error))
    assert (again.status, again.body, again.headers) == (status, error.body, error.headers)
