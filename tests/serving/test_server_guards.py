"""The guard rails of the real server: keys, the day's budget and the page, asked by the official client."""

import httpx
import openai
import pytest

from tests.serving.conftest import CALLS, POOR_KEY, Server
from tests.serving.stack import chat

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(600)]


def test_the_page_is_open_and_the_models_need_a_key(server: Server) -> None:
    assert "<title>" in httpx.get(f"{server.url}/").text
    assert httpx.get(f"{server.url}/health").status_code == 200
    for key in ("wrong-key-0123456789", "none"):
        with pytest.raises(openai.AuthenticationError, match="not known"):
            server.client().with_options(api_key=key).models.list()
    assert len(server.client().models.list().data) == 3


def test_administration_needs_an_admins_key(server: Server) -> None:
    refused = server.http(POOR_KEY).get("/admin/settings")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "admin_key_needed")
    assert server.http().get("/admin/settings").json()["name"] == server.settings.name


def test_a_days_budget_bounds_the_last_answer_and_is_then_spent(server: Server) -> None:
    poor = server.client().with_options(api_key=POOR_KEY)
    written = 0
    with pytest.raises(openai.RateLimitError) as spent:
        for _ in range(20):
            body = chat(CALLS, model=server.settings.name, relay={"max_calls": 1})
            with poor.chat.completions.create(
                model=body["model"], messages=body["messages"], extra_body={"relay": body["relay"]}, stream=True
            ) as stream:
                written += sum(
                    chunk.choices[0].relay["teacher_tokens"]  # type: ignore[attr-defined]
                    for chunk in stream
                    if chunk.choices[0].finish_reason
                )
    assert spent.value.code == "budget_exceeded"
    assert written == 7
    alone = poor.chat.completions.create(model=f"{server.settings.name}/student", messages=body["messages"])
    assert alone.choices[0].finish_reason in ("stop", "length")


def test_a_body_that_is_too_large_is_refused(server: Server) -> None:
    refused = server.http().post("/v1/chat/completions", json=chat("9" * 2_000_000))
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "request_too_large")
