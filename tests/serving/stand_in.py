"""A server with the relay server's wire format on a real socket, whose answers a test scripts, pauses included."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

KINDS = {"demo": "relay", "demo/student": "student", "demo/teacher": "teacher"}
PRICES = {
    "student": {"input": 0.0, "cached_input": 0.0, "output": 1.0},
    "teacher": {"input": 10.0, "cached_input": 1.0, "output": 100.0},
}
_DEADLINE_S = 30


@dataclass(frozen=True)
class Writes:
    """Text by one writer. Each word is a token, and a chunk of its own."""

    text: str
    writer: str = "student"

    @property
    def tokens(self) -> list[str]:
        return re.findall(r"\s*\S+\s*$|\s*\S+|\s+", self.text)


@dataclass(frozen=True)
class Calls:
    """One call, and what the teacher writes in it."""

    text: str
    requested: int
    ending: str = "completed"
    reason: str | None = None


@dataclass(frozen=True)
class Waits:
    """A pause until a test sets the event."""

    event: threading.Event


@dataclass(frozen=True)
class Drops:
    """The connection is cut."""


@dataclass(frozen=True)
class Fails:
    """An error inside the stream."""

    message: str
    code: str | int | None = None


@dataclass(frozen=True)
class Refuses:
    """An answer with an error status, instead of a stream."""

    status: int
    message: str
    headers: dict[str, str] = field(default_factory=dict)
    code: str | None = None


Step = Writes | Calls | Waits | Drops | Fails
Script = Callable[[dict[str, Any], str], Sequence[Step] | Refuses]


def usual(body: dict[str, Any], kind: str) -> Sequence[Step]:
    """An answer with one call; student and teacher alone write it without one."""
    if kind == "relay":
        return [Writes("The sum is "), Calls("\\boxed{42} for sure", 20), Writes(", I think.")]
    return [Writes(f"The {kind} says \\boxed{{42}}.", kind)]


class StandIn:
    """The server, running in a thread while the context is open."""

    def __init__(self, script: Script = usual, api_key: str | None = None) -> None:
        self.script, self.api_key = script, api_key
        self.requests: list[dict[str, Any]] = []
        """the bodies that were asked for"""
        self.ended: list[str] = []
        """for each stream that has ended: `whole` or `left`, if the client went away"""
        self.left = threading.Event()
        """set when a client has gone away in the middle of a stream"""
        self.running = self.most_running = 0
        self.examples = ["start 3, then: add 4", "What is $\\frac{84}{2}$?"]
        self.memory = "conversation"
        self.app = FastAPI()
        self.app.add_api_route("/v1/models", self._models, methods=["GET"])
        self.app.add_api_route("/v1/chat/completions", self._answer, methods=["POST"])
        self.app.add_api_route("/v1/completions", self._answer, methods=["POST"])
        self._server = uvicorn.Server(uvicorn.Config(self.app, host="127.0.0.1", port=0, log_level="critical"))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._started = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def __enter__(self) -> StandIn:
        self._thread.start()
        assert self._started.wait(_DEADLINE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(_DEADLINE_S)

    def _run(self) -> None:
        async def serve() -> None:
            self._server.config.load()
            self._server.lifespan = self._server.config.lifespan_class(self._server.config)
            await self._server.startup()
            self._started.set()
            await self._server.main_loop()
            await self._server.shutdown()

        asyncio.run(serve())

    def _refusal(self, request: Request) -> Response | None:
        if self.api_key is not None and request.headers.get("authorization") != f"Bearer {self.api_key}":
            return _error(Refuses(401, "no such key"))
        return None

    async def _models(self, request: Request) -> Response:
        relay = {"policy_version": 80, "examples": self.examples, "memory": self.memory, "prices": PRICES, "limits": {}}
        models = [{"id": id, "object": "model", "relay": {"kind": kind, **relay}} for id, kind in KINDS.items()]
        return self._refusal(request) or JSONResponse({"object": "list", "data": models})

    async def _answer(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        body = json.loads(await request.body())
        self.requests.append(body)
        steps = self.script(body, KINDS[body["model"]])
        if isinstance(steps, Refuses):
            return _error(steps)
        answer = _Answer(body, KINDS[body["model"]])
        if body.get("stream"):
            return StreamingResponse(self._events(answer, steps), media_type="text/event-stream")
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            for step in steps:
                async for _ in answer.chunks(step):
                    pass
        except ConnectionAbortedError:
            return StreamingResponse(_half(), headers={"Content-Length": "1000"})
        finally:
            self.running -= 1
        return JSONResponse(answer.plain())

    async def _events(self, answer: _Answer, steps: Sequence[Step]) -> AsyncIterator[str]:
        try:
            for step in steps:
                async for chunk in answer.chunks(step):
                    yield _event(chunk)
                    await asyncio.sleep(0)
                    if "error" in chunk:
                        return
            for chunk in answer.last_chunks():
                yield _event(chunk)
            yield "data: [DONE]\n\n"
            self.ended.append("whole")
        except (asyncio.CancelledError, GeneratorExit):
            self.ended.append("left")
            self.left.set()
            raise


class _Answer:
    def __init__(self, body: dict[str, Any], kind: str) -> None:
        self._body, self._kind = body, kind
        self._is_chat = "messages" in body
        self._content = ""
        self._spans: list[dict[str, Any]] = []
        self._calls: list[dict[str, Any]] = []
        self._tokens = {"student": 0, "teacher": 0}

    async def chunks(self, step: Step) -> AsyncIterator[dict[str, Any]]:
        if isinstance(step, Waits):
            while not step.event.is_set():
                await asyncio.sleep(0.005)
        elif isinstance(step, Drops):
            raise ConnectionAbortedError("the script cuts the connection")
        elif isinstance(step, Fails):
            yield {"error": {"message": step.message, "type": "server_error", "param": None, "code": step.code}}
        elif isinstance(step, Calls):
            call: dict[str, Any] = {"start": len(self._content), "requested": step.requested}
            yield self._chunk("", {"call": call})
            written = Writes(step.text, "teacher")
            async for chunk in self.chunks(written):
                yield chunk
            call |= {"end": len(self._content), "written": len(written.tokens), "duration_s": 0.31}
            call |= {"first_token_s": 0.12, "ending": step.ending, "reason": step.reason}
            call |= {"prompt_tokens": 100, "cached_tokens": 40}
            self._calls.append(call)
            yield self._chunk("", {"call": call})
        else:
            for token in step.tokens:
                start = len(self._content)
                self._content += token
                self._tokens[step.writer] += 1
                if self._spans and self._spans[-1]["writer"] == step.writer:
                    self._spans[-1]["end"] = len(self._content)
                else:
                    self._spans.append({"writer": step.writer, "start": start, "end": len(self._content)})
                yield self._chunk(token, {"writer": step.writer})

    def last_chunks(self) -> list[dict[str, Any]]:
        last = self._chunk("", self._summary())
        last["choices"][0]["finish_reason"] = "stop"
        if not self._body.get("stream_options", {}).get("include_usage"):
            return [last]
        return [last, {"choices": [], "usage": self._usage(), "relay": self._sums()}]

    def plain(self) -> dict[str, Any]:
        text = (
            {"message": {"role": "assistant", "content": self._content}} if self._is_chat else {"text": self._content}
        )
        choice = {"index": 0, **text, "finish_reason": "stop", "relay": self._summary()}
        return {"model": self._body["model"], "choices": [choice], "usage": self._usage(), "relay": self._sums()}

    def _chunk(self, text: str, relay: dict[str, Any]) -> dict[str, Any]:
        content: dict[str, Any] = {"delta": {"content": text} if text else {}} if self._is_chat else {"text": text}
        return {"choices": [{"index": 0, **content, "finish_reason": None, "relay": relay}]}

    def _summary(self) -> dict[str, Any]:
        output, teacher = sum(self._tokens.values()), self._tokens["teacher"]
        usage = {"turns": 1, "prompt_tokens": 20, "cached_tokens": 0}
        return {
            "spans": self._spans,
            "calls": self._calls,
            "call_ratio": teacher / output if output else 0.0,
            "output_tokens": output,
            "student_tokens": self._tokens["student"],
            "teacher_tokens": teacher,
            "rejected_commands": 0,
            "usage": {writer: {**usage, "written_tokens": tokens} for writer, tokens in self._tokens.items()},
            "cost": self._cost(),
            "teacher_alone_cost": 10 * self._cost(),
            "teacher": "on",
            "policy_version": 80,
            "duration_s": 1.25,
            "stop_text": None,
        }

    def _cost(self) -> float:
        calls = len(self._calls) * (60 * 10 + 40 * 1)
        return (calls + self._tokens["student"] * 1 + self._tokens["teacher"] * 100) / 1e6

    def _usage(self) -> dict[str, Any]:
        output = sum(self._tokens.values())
        return {
            "prompt_tokens": 20,
            "completion_tokens": output,
            "total_tokens": 20 + output,
            "prompt_tokens_details": {"cached_tokens": 0},
        }

    def _sums(self) -> dict[str, Any]:
        names = (
            "cost",
            "teacher_alone_cost",
            "call_ratio",
            "student_tokens",
            "teacher_tokens",
            "policy_version",
            "teacher",
        )
        summary = self._summary()
        return {**{name: summary[name] for name in names}, "currency": "EUR"}


async def _half() -> AsyncIterator[str]:
    yield '{"choices": ['
    raise ConnectionAbortedError("the script cuts the connection")


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"


def _error(refusal: Refuses) -> JSONResponse:
    error = {"message": refusal.message, "type": "error", "param": None, "code": refusal.code}
    return JSONResponse({"error": error}, refusal.status, refusal.headers)
