"""A call to the teacher's replicas: whatever breaks on the way ends the call as an `EngineError`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from actors.engines.base import EngineError, GenerationRequest
from actors.engines.chunks import Chunk
from actors.serving.teachers import HandleEngine
from actors.settings import SamplingSettings

REQUEST = GenerationRequest((1,), 10, SamplingSettings())


class Handle:
    """A deployment's handle whose streams give one chunk and then fail."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.asked = error, 0
        self.chunks = self

    def options(self, **options: Any) -> Handle:
        return self

    def remote(self, request: GenerationRequest) -> AsyncIterator[Chunk]:
        self.asked += 1
        return self._stream()

    async def _stream(self) -> AsyncIterator[Chunk]:
        yield Chunk([1], [0.0])
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        grpc.aio.AioRpcError(
            grpc.StatusCode.CANCELLED, grpc.aio.Metadata(), grpc.aio.Metadata(), details="its time is up"
        ),
        ValueError("its time is up"),
        EngineError("its time is up"),
        asyncio.CancelledError("of the replica"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_breaks_between_two_processes_ends_the_call_alone(error: BaseException) -> None:
    handle = Handle(error)
    with pytest.raises(EngineError, match=r"its time is up|replica stopped"):
        await HandleEngine(handle, "session").generate(REQUEST)  # type: ignore[arg-type]
    assert handle.asked == 1
