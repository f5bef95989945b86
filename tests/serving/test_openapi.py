"""Whatever is sent to the server, it answers within its own OpenAPI document, and never with a fault.

The tests need only `server_url`, and read everything else from the document there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.live import served_in_a_thread
from tests.serving.conftest import KEY
from tests.serving.openapi_bodies import Operation, faulty, fitting, operations
from tests.serving.stack import Stack, scripted
from tests.serving.stack import settings as server_settings

EXAMPLES = 120
JSON = {"content-type": "application/json"}
ADMIN = {"authorization": f"Bearer {KEY}"}


REAL = pytest.param(
    "the real server", marks=[pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)], id="real server"
)


@pytest.fixture(scope="module", params=["scripted engines", REAL])
def server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the URL of the server's own HTTP interface, over engines that write a short text; or of the real server."""
    if request.param == "the real server":
        yield request.getfixturevalue("server").url
        return
    of = Stack(scripted(lambda _: "5"), scripted(lambda _: "28"), server_settings())
    with served_in_a_thread(of.app()) as url:
        yield url


@pytest.fixture(scope="module")
def client(server_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server_url, headers=ADMIN, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").raise_for_status().json()
    return found


@pytest.fixture(scope="module")
def statuses(server_url: str) -> list[int]:
    """Return a list for the statuses of answers to bodies that fit."""
    return []


def check(response: httpx.Response, operation: Operation, document: dict[str, Any]) -> None:
    """Assert that an answer is no fault, and has the form that the document or OpenAI's error form gives it."""
    assert response.status_code < 500, response.text
    status = str(response.status_code) if response.is_success else f"{response.status_code // 100}XX"
    media = response.headers["content-type"].partition(";")[0]
    schema = operation.responses[status]["content"][media]["schema"]
    form = Draft202012Validator({**schema, "components": document["components"]})
    if media == "text/event-stream":
        check_stream(response.text, form)
    else:
        form.validate(response.json())
        assert response.is_success or "Traceback" not in response.json()["error"]["message"]


def check_error(body: Any) -> None:
    assert set(body) == {"error"} and set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"] and isinstance(body["error"]["type"], str)
    assert "Traceback" not in body["error"]["message"]


def check_stream(text: str, form: Draft202012Validator) -> None:
    events = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    *before, last = events
    for event in before:
        form.validate(json.loads(event))
    if last != "[DONE]":
        check_error(json.loads(last))


def test_the_document_has_operations(document: dict[str, Any]) -> None:
    paths = {operation.path for operation in operations(document)}
    assert {"/v1/chat/completions", "/v1/completions"} <= paths


@given(data=st.data())
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
def test_a_body_that_fits_is_answered(
    data: st.DataObject, client: httpx.Client, document: dict[str, Any], statuses: list[int]
) -> None:
    operation = data.draw(st.sampled_from(operations(document)))
    body = data.draw(fitting(operation.body, document))
    response = client.post(operation.path, content=json.dumps(body), headers=JSON)
    statuses.append(response.status_code)
    check(response, operation, document)


def test_most_bodies_that_fit_are_not_refused(statuses: list[int]) -> None:
    assert len(statuses) >= EXAMPLES / 2 and statuses.count(200) > len(statuses) / 3


@given(data=st.data())
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
def test_a_body_with_faults_is_answered_or_refused(
    data: st.DataObject, client: httpx.Client, document: dict[str, Any]
) -> None:
    operation = data.draw(st.sampled_from(operations(document)))
    body = data.draw(faulty(operation.body, document))
    headers = data.draw(st.sampled_from([JSON, JSON, {"content-type": "text/plain"}, {}]))
    check(client.post(operation.path, content=body, headers=headers), operation, document)


def test_an_unknown_key_is_refused_by_its_name(client: httpx.Client) -> None:
    message = {"role": "user", "content": "?"}
    for body in ({"messages": [message], "relay": {"unheard": 1}}, {"messages": [message], "unheard": 1}):
        error = client.post("/v1/chat/completions", json=body)
        assert error.status_code == 400 and "unheard" in error.json()["error"]["message"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/none", "/admin/student", "/health", "/%00", "/v1/../health"]
)
def test_every_path_and_method_has_an_answer_in_form(client: httpx.Client, method: str, path: str) -> None:
    response = client.request(method, path)
    assert response.status_code < 500
    if response.status_code >= 400:
        check_error(response.json())


def test_the_server_lives_after_all_that(client: httpx.Client) -> None:
    assert client.get("/health").status_code == 200
