"""A small app with the wire format of the relay server. It answers every question with the same words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from actors.serving.guards.admission import Admission
from actors.serving.guards.errors import add_error_handlers
from actors.serving.guards.keys import Caller, KeyRing, admin_of
from actors.serving.guards.middleware import GuardMiddleware
from actors.serving.guards.refusals import Refusal
from actors.serving.guards.settings import GuardSettings

WORDS = ["It ", "is ", "42."]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class RelayKeys(_Body):
    max_teacher_tokens: int | None = Field(None, ge=0)
    max_call_ratio: float | None = Field(None, ge=0.0, le=1.0)
    max_calls: int | None = Field(None, ge=0)
    max_cost: float | None = Field(None, ge=0.0)
    teacher: Literal["on", "off"] = "on"
    show_commands: bool = False


class StreamOptions(_Body):
    include_usage: bool = False


class ChatMessage(_Body):
    role: Literal["system", "user", "assistant"]
    content: str


class Asked(_Body):
    model: Literal["demo", "demo/student", "demo/teacher"] = "demo"
    max_tokens: int | None = Field(None, ge=1, le=4096)
    n: int = Field(1, ge=1, le=8)
    temperature: float = Field(0.0, ge=0.0, le=2.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    relay: RelayKeys = RelayKeys()


class ChatRequest(Asked):
    messages: list[ChatMessage] = Field(min_length=1)


class CompletionRequest(Asked):
    prompt: str | list[Annotated[int, Field(ge=0)]]


class Student(_Body):
    path: str = Field(min_length=1)


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Choice(BaseModel):
    index: int
    text: str
    finish_reason: Literal["stop", "length"]


class Answer(BaseModel):
    id: str
    object: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


def stand_in() -> FastAPI:
    """Return the app, behind the guard rails."""
    app, settings = FastAPI(), GuardSettings(max_body_kib=64)
    app.add_middleware(GuardMiddleware, settings=settings, keys=KeyRing(settings, {}), admission=Admission(settings))
    add_error_handlers(app)

    @app.get("/health")
    async def health() -> str:
        return "ok"

    @app.post("/v1/chat/completions", response_model=Answer)
    async def chat(request: ChatRequest) -> Any:
        return _answered(request, " ".join(message.content for message in request.messages))

    @app.post("/v1/completions", response_model=Answer)
    async def complete(request: CompletionRequest) -> Any:
        return _answered(request, request.prompt if isinstance(request.prompt, str) else "")

    @app.post("/admin/student")
    async def student(body: Student, admin: Annotated[Caller, Depends(admin_of)]) -> str:
        if "\0" in body.path or not body.path.isprintable() or not Path(body.path).is_dir():
            raise Refusal(400, "path should be a folder", kind="invalid_request_error", param="path")
        return admin.name

    return app


def _answered(request: Asked, text: str) -> Answer | Response:
    stops = [request.stop] if isinstance(request.stop, str) else request.stop or []
    if not all(stops):
        raise Refusal(400, "stop: an empty stop text ends every answer", kind="invalid_request_error", param="stop")
    if request.stream:
        return StreamingResponse(_chunks(request), media_type="text/event-stream")
    asked = len(text.split())
    usage = Usage(prompt_tokens=asked, completion_tokens=3 * request.n, total_tokens=asked + 3 * request.n)
    choices = [Choice(index=i, text="".join(WORDS), finish_reason="stop") for i in range(request.n)]
    return Answer(id="a", object="text_completion", created=0, model=request.model, choices=choices, usage=usage)


def _chunks(request: Asked) -> Iterator[str]:
    for i in range(request.n):
        for word in WORDS:
            yield f"data: {json.dumps({'choices': [{'index': i, 'text': word}]})}\n\n"
    yield "data: [DONE]\n\n"
