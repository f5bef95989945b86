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


def teacher_tokens(client: openai.OpenAI, server: Server) -> int:
    """Return how many tokens the teacher wrote in a streamed answer, whose student calls once, for five tokens."""
    stream = client.chat.completions.create(
        model=server.settings.name,
        messages=[{"role": "user", "content": CALLS}],
        temperature=0.0,
        stream=True,
        extra_body={"relay": {"max_calls": 1}},
    )
    *_, last = stream
    tokens: int = last.choices[0].relay["teacher_tokens"]  # type: ignore[attr-defined]
    return tokens


def test_a_days_budget_bounds_the_last_answer_and_is_then_spent(server: Server) -> None:
    poor = server.client().with_options(api_key=POOR_KEY)
    assert [teacher_tokens(poor, server) for _ in range(2)] == [5, 2]
    with pytest.raises(openai.RateLimitError) as spent:
        teacher_tokens(poor, server)
    assert spent.value.code == "budget_exceeded"
    alone = poor.chat.completions.create(
        model=f"{server.settings.name}/student", messages=[{"role": "user", "content": CALLS}]
    )
    assert alone.choices[0].finish_reason in ("stop", "length")


def test_a_body_that_is_too_large_is_refused(server: Server) -> None:
    refused = server.http().post("/v1/chat/completions", json=chat("9" * 2_000_000))
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "request_too_large")
