"""The guard rails on the server's own HTTP interface, over scripted engines: keys, the day's budget, limits and the drain."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from actors.engines.base import GenerationRequest
from actors.serving.guards.ledger import Ledger
from actors.serving.guards.rails import GuardRails, guard_rails
from tests.live import served
from tests.serving.stack import Stack, chat, scripted, settings

KEY, ADMIN_KEY = "user-key-0123456789", "admin-key-0123456789"
USER, ADMIN = {"Authorization": f"Bearer {KEY}"}, {"Authorization": f"Bearer {ADMIN_KEY}"}
CALL = 3
"""tokens of the one call in each answer"""


def student(request: GenerationRequest) -> str:
    """Call once in each answer: the context of the second turn is longer, and commands are forbidden when nothing is left."""
    return "+1" if request.excluded or len(request.prompt_ids) > 14 else f"94<call>{CALL}</call>"


def guarded(
    folder: Path, budget: dict[str, Any] | None = None, engine: Any = None, **guards: Any
) -> tuple[Stack, GuardRails]:
    keys = [
        {"name": "user", "key_sha256": hashlib.sha256(KEY.encode()).hexdigest(), "budget": budget or {}},
        {"name": "operator", "key_sha256": hashlib.sha256(ADMIN_KEY.encode()).hexdigest(), "admin": True},
    ]
    chosen = settings(guards={"keys": keys, "ledger": str(folder / "ledger.sqlite"), **guards})
    rails = guard_rails(chosen.guards, chosen.prices)
    return Stack(scripted(student), engine or scripted(lambda _: "*28"), chosen), rails


def client(of: Stack, rails: GuardRails, headers: dict[str, str] = USER) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(of.app(rails))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers, timeout=60)


def ledger(rails: GuardRails) -> Ledger:
    assert rails.settings.ledger is not None
    return Ledger(rails.settings.ledger, rails.settings.reservation_s)


async def test_the_page_is_open_and_everything_else_needs_a_key(tmp_path: Path) -> None:
    async with client(*guarded(tmp_path), headers={}) as asked:
        for path in ("/", "/page/page.js", "/health", "/openapi.json"):
            assert (await asked.get(path)).status_code == 200, path
        for path in ("/v1/models", "/metrics", "/admin/settings"):
            assert (await asked.get(path)).status_code == 401, path
        assert (await asked.post("/v1/chat/completions", json=chat())).status_code == 401


async def test_the_settings_are_for_admins_and_have_no_secrets(tmp_path: Path) -> None:
    of, rails = guarded(tmp_path)
    async with client(of, rails) as asked:
        assert (await asked.get("/admin/settings")).json()["error"]["code"] == "admin_key_needed"
        assert (await asked.post("/admin/student", json={"path": "a"})).status_code == 403
        shown = await asked.get("/admin/settings", headers=ADMIN)
    assert shown.json()["student"]["path"] == of.settings.student.path
    assert shown.json()["guards"]["keys"][1] == {
        "name": "operator",
        "admin": True,
        "budget": {"cost": None, "requests": None, "teacher_tokens": None},
    }
    assert hashlib.sha256(KEY.encode()).hexdigest() not in shown.text


@pytest.mark.parametrize("streams", [False, True])
async def test_what_an_answer_used_is_in_the_ledger(tmp_path: Path, streams: bool) -> None:
    of, rails = guarded(tmp_path)
    async with client(of, rails) as asked:
        assert (await asked.post("/v1/chat/completions", json=chat(n=2, stream=streams))).status_code == 200
        body = (await asked.post("/v1/chat/completions", json=chat(relay={"teacher": "off"}))).json()
    used = ledger(rails).used("user")
    assert (used.requests, used.teacher_tokens) == (2, 2 * CALL)
    assert used.cost > body["relay"]["cost"] > 0
    assert ledger(rails).held("user").requests == 0


async def test_a_days_budget_bounds_answers_and_is_then_spent(tmp_path: Path) -> None:
    of, rails = guarded(tmp_path, {"teacher_tokens": CALL + 2})
    async with client(of, rails) as asked:
        written = []
        for _ in range(2):
            body = (await asked.post("/v1/chat/completions", json=chat())).json()
            written.append(body["relay"]["teacher_tokens"])
        refused = await asked.post("/v1/chat/completions", json=chat())
        alone = await asked.post("/v1/chat/completions", json=chat(model="tiny/student"))
    assert written == [CALL, 2]
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_exceeded")
    assert int(refused.headers["retry-after"]) > 0
    assert alone.status_code == 200


async def test_choices_share_the_rest_of_a_day(tmp_path: Path) -> None:
    of, rails = guarded(tmp_path, {"teacher_tokens": 4})
    async with client(of, rails) as asked:
        body = (await asked.post("/v1/chat/completions", json=chat(n=2))).json()
    assert [choice["relay"]["teacher_tokens"] for choice in body["choices"]] == [2, 2]


async def test_a_client_that_leaves_pays_for_the_call_that_began(tmp_path: Path) -> None:
    began = asyncio.Event()

    async def waits(request: GenerationRequest) -> None:
        began.set()
        await asyncio.Event().wait()

    of, rails = guarded(tmp_path, {"teacher_tokens": 100}, scripted([""], before=waits))
    async with served(of.app(rails)) as url, httpx.AsyncClient(base_url=url, headers=USER, timeout=60) as asked:
        async with asked.stream("POST", "/v1/chat/completions", json=chat(stream=True)) as response:
            async for line in response.aiter_lines():
                if "requested" in line:
                    break
            await began.wait()
            assert ledger(rails).held("user").teacher_tokens > CALL
        assert await rails.admission.drained(30)
        assert rails.budgets is not None
        await rails.budgets.settled()
    assert ledger(rails).used("user").teacher_tokens == CALL
    assert ledger(rails).held("user").requests == 0
    assert of.teacher.in_flight == 0  # type: ignore[attr-defined]


async def test_a_drain_lets_answers_end_and_refuses_new_ones(tmp_path: Path) -> None:
    began, go = asyncio.Event(), asyncio.Event()

    async def waits(request: GenerationRequest) -> None:
        began.set()
        await go.wait()

    of, rails = guarded(tmp_path, None, scripted(lambda _: "*28", before=waits))
    async with client(of, rails) as asked:
        answering = asyncio.create_task(asked.post("/v1/chat/completions", json=chat()))
        await began.wait()
        draining = asyncio.create_task(rails.drain(30))
        await asyncio.sleep(0)
        refused = await asked.post("/v1/chat/completions", json=chat())
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert not draining.done()
        go.set()
        assert (await answering).status_code == 200
        await draining
    assert ledger(rails).used("user").requests == 1


async def test_a_body_that_is_too_large_is_refused(tmp_path: Path) -> None:
    async with client(*guarded(tmp_path, max_body_kib=1)) as asked:
        assert (await asked.post("/v1/chat/completions", json=chat("9" * 2000))).status_code == 413
