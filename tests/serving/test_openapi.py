"""Whatever is sent to the server, it answers within its own OpenAPI document, and never with a fault.

The tests need only `server_url`, and read everything else from the document there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.live import served_in_a_thread
from tests.serving.conftest import KEY
from tests.serving.stack import Stack, scripted
from tests.serving.stack import settings as server_settings

EXAMPLES = 60
JSON = {"content-type": "application/json"}
ADMIN = {"authorization": f"Bearer {KEY}"}
CHAT = "/v1/chat/completions"
SMALL = {"max_tokens": 4, "temperature": 0.0}
NO_JSON = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"\xff\xfe",
    b"[" * 5000,
    b'{"n":' + b"9" * 5000 + b"}",
    b"{}x",
    b'{"n": NaN}',
]

CONFIG = """
[phases.fuzzing.checks.positive_data_acceptance]
enabled = false  # long texts do not fit into the models' context, which no schema can say

[[operations]]
include-path = "/admin/student"
checks.positive_data_acceptance.enabled = false  # most texts name no model's folder
"""

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


def test_schemathesis_finds_nothing(server_url: str, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    program = Path(sys.executable).parent / "schemathesis"
    command = [program, "--config-file", "schemathesis.toml", "run", f"{server_url}/openapi.json", "--seed", "1"]
    options = [
        "--phases",
        "coverage,fuzzing",
        "--max-examples",
        str(EXAMPLES),
        "--header",
        f"Authorization: Bearer {KEY}",
    ]
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


def chunks_of(document: dict[str, Any], path: str) -> Draft202012Validator:
    """Return a validator of the chunks that a path streams."""
    event = document["paths"][path]["post"]["responses"]["200"]["content"]["text/event-stream"]["schema"]
    chunk = event["properties"]["data"]["anyOf"][0]["contentSchema"]
    return Draft202012Validator({**chunk, "components": document["components"]})


def check_error(body: Any) -> None:
    assert set(body) == {"error"} and set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"] and isinstance(body["error"]["type"], str)
    assert "Traceback" not in body["error"]["message"]


@pytest.mark.parametrize(
    ("path", "asked"),
    [(CHAT, {"messages": [{"role": "user", "content": "94*03"}]}), ("/v1/completions", {"prompt": "94*03"})],
)
@given(
    extras=st.fixed_dictionaries(
        {},
        optional={
            "n": st.integers(1, 3),
            "stop": st.sampled_from(["5", ["8", "no"]]),
            "stream_options": st.just({"include_usage": True}),
            "relay": st.sampled_from([{"teacher": "off"}, {"max_teacher_tokens": 1}, {"show_commands": True}]),
            "model": st.sampled_from(["/student", "/teacher", ""]),
        },
    ),
    logprobs=st.booleans(),
)
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), deadline=None)
def test_every_event_of_a_stream_has_its_form(
    client: httpx.Client,
    document: dict[str, Any],
    path: str,
    asked: dict[str, Any],
    extras: dict[str, Any],
    logprobs: bool,
) -> None:
    name = client.get("/v1/models").json()["data"][0]["id"]
    body = SMALL | asked | extras | {"stream": True, "model": name + extras.get("model", "")}
    if logprobs:
        body["logprobs"] = True if path == CHAT else 0
    if body["model"].endswith("/teacher") and body.get("relay", {}).get("teacher") == "off":
        del body["relay"]
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    *events, last = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    form = chunks_of(document, path)
    for event in events:
        form.validate(json.loads(event))
    assert last == "[DONE]"


@pytest.mark.parametrize("body", NO_JSON, ids=lambda body: repr(body[:12]))
def test_what_is_no_json_object_is_refused_in_form(client: httpx.Client, body: bytes) -> None:
    for path in (CHAT, "/v1/completions", "/admin/student"):
        refused = client.post(path, content=body, headers=JSON)
        assert refused.status_code == 400
        check_error(refused.json())


def test_an_unknown_key_is_refused_by_its_name(client: httpx.Client) -> None:
    message = {"role": "user", "content": "?"}
    for unknown in (1, [], False, ""):
        for body in (
            {"messages": [message], "relay": {"unheard": unknown}},
            {"messages": [message], "unheard": unknown},
        ):
            error = client.post(CHAT, json=body)
            assert error.status_code == 400 and "unheard" in error.json()["error"]["message"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", [CHAT, "/v1/none", "/admin/student", "/health", "/%00", "/v1/../health"])
def test_every_path_and_method_has_an_answer_in_form(client: httpx.Client, method: str, path: str) -> None:
    response = client.request(method, path)
    assert response.status_code < 500
    if response.status_code >= 400:
        check_error(response.json())


def test_the_server_lives_after_all_that(client: httpx.Client) -> None:
    assert client.get("/health").status_code == 200
