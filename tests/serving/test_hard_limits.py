"""Limits that hold whatever the teacher's engine writes, and whichever vocabulary it has; and requests that hold up no others."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from actors.engines.base import EngineError, Generation, GenerationRequest, OnTokens, StopReason
from actors.relay.grammar import without_commands
from actors.relay.handoff import IdHandoff, TextHandoff
from actors.serving import app as app_module
from actors.serving.answer_text import AnswerText
from actors.serving.answering import Answerer
from actors.serving.events import CallBegan, CallReport
from actors.serving.guards.ledger import Ledger
from actors.serving.guards.rails import guard_rails
from actors.serving.pieces import Piece, TokenLogprob
from actors.serving.protocol import RequestReader
from actors.serving.spending import Spending
from actors.serving.teachers import WatchedTeachers
from actors.trajectory import CallEnding, Source
from tests.live import served
from tests.scripted import PieceTokenizer, ScriptedEngine
from tests.serving.conftest import KEY, KEYS
from tests.serving.stack import Stack, chat, chunks, reader, scripted, settings, tokenizer

WIDE = PieceTokenizer(["<", ">", "</", "call", "12345", *"0123456789+-*?=; "])
"""one token of this vocabulary is five of the student's"""


class OtherVocabulary(Stack):
    """A server whose teacher has another vocabulary."""

    def answerer(self, teachers: WatchedTeachers | None = None) -> Answerer:
        handoff = TextHandoff(tokenizer(), WIDE)
        return dataclasses.replace(super().answerer(teachers), teacher_tokenizer=WIDE, handoff=handoff)


def calling(command: str = "<call>9</call>") -> ScriptedEngine:
    """Return a student that calls once."""
    texts = iter([f"94{command}"])
    return scripted(lambda _: next(texts, "+1"))


def wide_teacher() -> ScriptedEngine:
    return ScriptedEngine(WIDE, lambda _: WIDE.encode("12345" * 10))


class Chatterbox:
    """An engine that writes more tokens than it is asked for, and then ends as it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        ids = tokenizer().encode("8") * (request.max_tokens + 10)
        if on_tokens is not None:
            on_tokens(ids[:2], [0.0] * 2)
            on_tokens(ids[2:], [0.0] * (len(ids) - 2))
        if self._error is not None:
            raise self._error
        zeros = np.zeros(len(ids), np.int32)
        count = len(request.prompt_ids)
        return Generation(np.asarray(ids, np.int32), zeros.astype(np.float32), zeros, StopReason.LENGTH, count, 0)


async def summary(of: Stack, streams: bool, **keys: Any) -> dict[str, Any]:
    """Return the `relay` of the only choice."""
    async with of.client() as client:
        response = (await client.post("/v1/chat/completions", json=chat(stream=streams, **keys))).raise_for_status()
    if not streams:
        return dict(response.json()["choices"][0]["relay"])
    (last,) = [one["choices"][0] for one in chunks(response.text) if one["choices"][0]["finish_reason"]]
    return dict(last["relay"])


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(
    ("relay", "key", "most"),
    [({"max_teacher_tokens": 2}, "teacher_tokens", 2), ({"max_call_ratio": 0.3}, "call_ratio", 0.3)],
)
async def test_a_budget_is_of_the_answers_tokens_if_the_teachers_are_others(
    relay: dict[str, Any], key: str, most: float, streams: bool
) -> None:
    found = await summary(OtherVocabulary(calling(), wide_teacher(), settings()), streams, relay=relay)
    assert 0 < found[key] <= most
    assert found["calls"][0]["ending"] == "budget"
    assert sum(call["written"] for call in found["calls"]) == found["teacher_tokens"]


async def test_a_cost_is_of_the_teachers_own_tokens() -> None:
    """What was paid for stays: ten tokens of the teacher are fifty of the answer."""
    found = await summary(
        OtherVocabulary(calling("<call>2</call>"), wide_teacher(), settings()), False, relay={"max_cost": 0.001}
    )
    assert found["calls"][0]["written"] == 10
    assert found["usage"]["teacher"]["written_tokens"] == 2


async def test_a_days_budget_is_of_the_answers_tokens_too(tmp_path: Path) -> None:
    keys = [KEYS[0] | {"budget": {"teacher_tokens": 4}}]
    chosen = settings(guards={"keys": keys, "ledger": str(tmp_path / "ledger.sqlite")})
    app = OtherVocabulary(calling(), wide_teacher(), chosen).app(guard_rails(chosen.guards, chosen.prices))
    async with served(app) as url:
        answer = await asyncio.to_thread(_post, url, chat())
    assert answer["choices"][0]["relay"]["teacher_tokens"] == 4
    assert Ledger(tmp_path / "ledger.sqlite", 60.0).used("operator").teacher_tokens == 4


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("error", [None, RuntimeError("broken")])
async def test_a_teacher_that_writes_too_much_is_cut(streams: bool, error: Exception | None) -> None:
    teacher = Chatterbox(None if error is None else EngineError(str(error)))
    found = await summary(Stack(calling(), teacher, settings()), streams, relay={"max_teacher_tokens": 3})
    assert found["teacher_tokens"] == 3
    assert found["calls"][0]["ending"] == "failed"


async def test_a_teacher_alone_that_writes_too_much_is_cut() -> None:
    of = Stack(scripted([]), Chatterbox(), settings())
    found = await summary(of, False, model="tiny/teacher", relay={"max_teacher_tokens": 3})
    assert found["teacher_tokens"] == 3


@pytest.mark.parametrize("relay", [{"max_call_ratio": 0.1}, {"max_calls": 0}, {"teacher": "off"}])
async def test_keys_without_a_meaning_for_the_teacher_alone_are_refused(relay: dict[str, Any]) -> None:
    async with Stack(scripted([]), scripted("5"), settings()).client() as client:
        refused = await client.post("/v1/chat/completions", json=chat(relay=relay) | {"model": "tiny/teacher"})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == f"relay.{next(iter(relay))}"


@pytest.mark.parametrize("of", [Stack, OtherVocabulary])
async def test_text_offsets_are_the_same_streamed_and_plain(of: type[Stack]) -> None:
    found = []
    for streams in (False, True):
        teacher = wide_teacher() if of is OtherVocabulary else scripted(lambda _: "12345")
        async with of(calling("<call>1</call>"), teacher, settings()).client() as client:
            body = {"prompt": "1", "logprobs": 0, "stream": streams}
            response = (await client.post("/v1/completions", json=body)).raise_for_status()
        choices = [one["choices"][0] for one in (chunks(response.text) if streams else [response.json()])]
        text = "".join(choice["text"] for choice in choices)
        logprobs = [choice["logprobs"] for choice in choices if choice["logprobs"]]
        offsets = [offset for one in logprobs for offset in one["text_offset"]]
        tokens = [token for one in logprobs for token in one["tokens"]]
        assert all(text[start:].startswith(token) for start, token in zip(offsets, tokens, strict=True))
        found.append((text, offsets))
    assert found[0] == found[1]


def test_a_command_without_an_end_costs_no_more_than_other_text() -> None:
    class Counting(PieceTokenizer):
        decoded = 0

        def decode(self, ids: Any) -> str:
            Counting.decoded += len(ids)
            return super().decode(ids)

    own = Counting(["<", "call", ">", *"0123456789 "])
    text = AnswerText(own, own, IdHandoff())
    ids = own.encode("<call>" + "1 " * 500)
    for token in ids:
        text.writes(Source.STUDENT, [token], [0.0])
    assert Counting.decoded <= 2 * len(ids)
    text.end()
    assert "".join(piece.text for piece in text.take()) == without_commands(own.decode(ids))


def test_tokens_that_all_end_within_a_character_lose_nothing() -> None:
    class Bytes:
        eos_token_id = 0

        def __len__(self) -> int:
            return len(parts)

        def encode(self, text: str) -> list[int]:
            return []

        def decode(self, ids: Any) -> str:
            return b"".join(parts[token] for token in ids).decode(errors="replace")

    whole = "你好你好你好你好"
    raw = whole.encode()
    cuts = [0, *range(2, len(raw), 3), len(raw)]  # each token ends one byte before a character does
    parts = [raw[start:end] for start, end in itertools.pairwise(cuts)]
    text = AnswerText(Bytes(), Bytes(), IdHandoff())
    for token in range(len(parts)):
        text.writes(Source.STUDENT, [token], [0.0])
    text.end()
    assert "".join(piece.text for piece in text.take()) == whole


def test_a_client_that_leaves_pays_for_what_it_has_read_and_never_more_than_was_reserved() -> None:
    asked = reader().chat(chat(relay={"max_teacher_tokens": 5, "max_cost": 0.001}))
    spending = Spending(asked, settings().prices)
    prompt = len(asked.choices[0].prompt.student_ids)
    spending.take(0, [Piece("12", Source.STUDENT, (TokenLogprob("1", 0.0), TokenLogprob("2", 0.0)))])
    assert spending.total() == (0, pytest.approx((prompt * 1.0 + 2 * 2.0) / 1e6))
    numbers = {
        "start": 0,
        "duration_s": 0.1,
        "first_token_s": 0.1,
        "reason": None,
        "prompt_tokens": 9,
        "cached_tokens": 0,
    }
    ended = CallReport(end=3, requested=3, written=3, ending=CallEnding.COMPLETED, **numbers)  # type: ignore[arg-type]
    spending.take(0, [CallBegan(0, 3), ended, CallBegan(3, 40)])
    tokens, cost = spending.total()
    assert tokens == 5
    assert cost <= 0.001


async def test_a_long_request_does_not_hold_up_others() -> None:
    began, go = threading.Event(), threading.Event()

    class Slow(RequestReader):
        def chat(self, body: object) -> Any:
            began.set()
            assert go.wait(30)
            return super().chat(body)

    class Own(Stack):
        def _reader(self) -> RequestReader:
            return Slow(self.settings, reader()._prompts)

    async with Own(scripted(lambda _: "5"), scripted([]), settings()).client() as client:
        long = asyncio.ensure_future(client.post("/v1/chat/completions", json=chat("9" * app_module._LONG_BODY)))
        assert await asyncio.to_thread(began.wait, 30)
        assert (await client.get("/health")).status_code == 200
        go.set()
        assert (await long).json()["error"]["code"] == "context_length_exceeded"


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=30).raise_for_status().json()
    return dict(answer)
