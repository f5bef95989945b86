"""One stream sends each token by itself; many streams share the parts of a second, and what is urgent never waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from actors.engines.base import Generation, GenerationRequest
from actors.engines.chunks import Chunk, as_chunks
from actors.engines.pacing import LONGEST_S, Pace, SendSignal
from actors.settings import SamplingSettings
from tests.scripted import PieceTokenizer, ScriptedEngine

TOKENIZER = PieceTokenizer([*"abcdef", "<call>"])
REQUEST = GenerationRequest((1,), 10, SamplingSettings())


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer as soon as nothing else is to do."""

    now_s = 1000.0

    def time(self) -> float:
        return self.now_s

    def _run_once(self) -> None:
        timers = [timer.when() for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        if timers and not self._ready:  # type: ignore[attr-defined]
            self.now_s = max(self.now_s, min(timers))
        super()._run_once()  # type: ignore[misc]


@contextmanager
def clock() -> Iterator[Clock]:
    loop = Clock()
    try:
        yield loop
    finally:
        loop.close()


def sent_at(
    pace: Pace, tell: Callable[[SendSignal], Coroutine[Any, Any, None]], streams: int, parts: int
) -> list[list[float]]:
    """Return when each of so many streams sent its parts, in seconds after the first."""

    async def send() -> list[float]:
        with pace.stream() as signal:
            teller = asyncio.ensure_future(tell(signal))
            times = []
            for _ in range(parts):
                await signal.wait()
                times.append(asyncio.get_running_loop().time() - Clock.now_s)
            teller.cancel()
        return times

    async def all_of_them() -> list[list[float]]:
        return await asyncio.gather(*(send() for _ in range(streams)))

    with clock() as loop:
        return loop.run_until_complete(asyncio.wait_for(all_of_them(), 100))


async def steadily(signal: SendSignal) -> None:
    while True:
        signal.tell()
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("streams", [1, 4, 20])
def test_all_streams_together_keep_to_the_pace(streams: int) -> None:
    times = sent_at(Pace(100.0), steadily, streams, 6)

    last_s = max(map(max, times))
    assert (streams * 6 - streams) / last_s == pytest.approx(100, rel=0.12)  # the first parts do not wait


def test_no_stream_waits_long_however_many_there_are() -> None:
    times = sent_at(Pace(1.0), steadily, 50, 3)

    assert max(map(max, times)) == pytest.approx(2 * LONGEST_S, abs=0.01)


def test_urgent_news_overtake_a_timer() -> None:
    async def then_urgent(signal: SendSignal) -> None:
        signal.tell()
        await asyncio.sleep(0.01)
        signal.tell()  # its turn comes later
        await asyncio.sleep(0.01)
        signal.tell(urgent=True)

    assert sent_at(Pace(1.0), then_urgent, 1, 2)[0] == pytest.approx([0.0, 0.02])


def test_without_a_pace_everything_is_sent_at_once() -> None:
    assert sent_at(Pace(), steadily, 100, 3) == [pytest.approx([0.0, 0.001, 0.002])] * 100


def test_streams_that_have_ended_no_longer_count() -> None:
    pace = Pace(10.0)
    with pace.stream(), pace.stream():
        assert pace.interval_s == pytest.approx(0.2)
    assert pace.interval_s == 0.0


def test_a_slow_pace_loses_no_token_and_holds_back_neither_the_first_nor_the_last() -> None:
    async def chunks() -> tuple[list[Chunk | Generation], float]:
        engine = ScriptedEngine(TOKENIZER, [[1, 2, 3, 4, 5, 6]])
        found = [chunk async for chunk in as_chunks(engine, REQUEST, Pace(0.001))]
        return found, asyncio.get_running_loop().time()

    with clock() as loop:
        (first, *rest, end), ended_s = loop.run_until_complete(chunks())

    assert isinstance(first, Chunk) and isinstance(end, Generation)
    assert [*first.token_ids, *(token for chunk in rest for token in chunk.token_ids)] == end.token_ids.tolist()  # type: ignore[union-attr]
    assert len(rest) == 1 and ended_s - Clock.now_s < LONGEST_S
