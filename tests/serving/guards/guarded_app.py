"""A small FastAPI app behind the guard rails. It answers with what the test asks for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import StreamingResponse

from actors.relay.usage import ModelPrices, Prices
from actors.serving.error_answers import add_error_handlers
from actors.serving.guards.admission import Admission
from actors.serving.guards.budgets import AnswerBounds, DayBudgets, until_answered
from actors.serving.guards.keys import Caller, KeyRing, admin_of, caller_of
from actors.serving.guards.ledger import Ledger
from actors.serving.guards.middleware import GuardMiddleware
from actors.serving.guards.settings import GuardSettings

KEY, ADMIN_KEY = "user-key-0123456789", "admin-key-0123456789"
KEYS = [
    {"name": "user", "key_env": "USER_KEY", "budget": {"teacher_tokens": 30}},
    {"name": "admin", "key_env": "ADMIN_KEY", "admin": True},
]
PRICES = Prices(teacher=ModelPrices(output=1.0))


class Guarded:
    """The app, its guard rails, and events that tests wait for. Answers are held until `go` is set."""

    def __init__(self, folder: Path, **values: object) -> None:
        self.settings = GuardSettings.model_validate(values)
        environ = {"USER_KEY": KEY, "ADMIN_KEY": ADMIN_KEY}
        self.admission = Admission(self.settings)
        self.ledger = Ledger(folder / "ledger.sqlite", self.settings.reservation_s)
        self.budgets = DayBudgets(self.ledger, PRICES)
        self.go, self.begun, self.gone = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.app = self._app(KeyRing(self.settings, environ))

    def _app(self, keys: KeyRing) -> FastAPI:
        app = FastAPI()
        app.add_middleware(GuardMiddleware, settings=self.settings, keys=keys, admission=self.admission)
        add_error_handlers(app)

        @app.get("/health")
        async def health() -> str:
            return "ok"

        @app.get("/v1/models")
        async def models(caller: Annotated[Caller, Depends(caller_of)]) -> str:
            return caller.name

        @app.post("/v1/echo")
        async def echo(request: Request) -> int:
            return len(await request.body())

        @app.post("/v1/held")
        async def held() -> str:
            self.begun.set()
            try:
                await self.go.wait()
            finally:
                self.gone.set()
            return "done"

        @app.post("/v1/floods")
        async def floods() -> StreamingResponse:
            async def text() -> AsyncIterator[bytes]:
                self.begun.set()
                while True:
                    yield b"x" * 65536
                    await asyncio.sleep(0)

            return StreamingResponse(text())

        @app.post("/v1/answer")
        async def answer(
            body: dict[str, Any],
            caller: Annotated[Caller, Depends(caller_of)],
            answered: Annotated[AsyncExitStack, Depends(until_answered)],
        ) -> StreamingResponse:
            bounds = AnswerBounds(prompt_tokens=5, max_new_tokens=body["max_tokens"], max_calls=2)
            allowance = await answered.enter_async_context(self.budgets.allowed(caller, bounds))

            async def chunks() -> AsyncIterator[str]:
                try:
                    yield f"data: {allowance.per_choice(bounds).max_teacher_tokens}\n\n"
                    if "first" in body:
                        allowance.note(body["first"], 0.0)
                        yield "data: first\n\n"
                    if "wait" in body:
                        await self.go.wait()
                    allowance.note(body["used"], 0.0)
                    yield "data: [DONE]\n\n"
                finally:
                    self.gone.set()

            return StreamingResponse(chunks(), media_type="text/event-stream")

        @app.post("/admin/student")
        async def student(admin: Annotated[Caller, Depends(admin_of)]) -> str:
            return admin.name

        return app
