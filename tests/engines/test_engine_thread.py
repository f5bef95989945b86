"""The engine's thread, over an engine that is busy for as long as a test says."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from actors.engines.base import EngineError
from actors.engines.engine_thread import EngineThread
from cluster.shared_weights import SharedMemoryError


class Engine:
    """Has one turn in flight until it is given up."""

    def __init__(self) -> None:
        self.turn, self.done = False, list[str]()
        self.stepped = threading.Event()

    def start(self) -> None:
        self.turn = True

    def give_up(self) -> None:
        self.turn = False
        self.done.append("given up")


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def thread(engine: Engine) -> Iterator[EngineThread]:
    thread = EngineThread(engine.stepped.set, lambda: engine.turn, lambda error: None, KeyError, "test")
    yield thread
    thread.shutdown()


async def test_a_turn_that_is_given_up_does_not_hold_up_what_waits_for_a_drain(
    engine: Engine, thread: EngineThread
) -> None:
    await thread.call(engine.start, "starting")
    drained = asyncio.create_task(thread.call(lambda: engine.done.append("drained"), "draining", needs_drain=True))
    await asyncio.sleep(0)
    later = asyncio.create_task(thread.call(lambda: engine.done.append("later"), "asking"))
    await asyncio.to_thread(engine.stepped.wait)
    assert engine.done == []
    thread.post_before_drain(engine.give_up)
    await asyncio.gather(drained, later)
    assert engine.done == ["given up", "drained", "later"]


async def test_an_idle_thread_is_woken_by_what_comes_before_a_drain(engine: Engine, thread: EngineThread) -> None:
    done = threading.Event()
    thread.post_before_drain(done.set)
    assert await asyncio.to_thread(done.wait, 30)


async def test_what_ends_a_run_comes_out_as_it_is_and_all_else_with_what_was_being_done(thread: EngineThread) -> None:
    def fail(error: Exception) -> None:
        raise error

    with pytest.raises(SharedMemoryError, match=r"^make /dev/shm larger$"):
        await thread.call(lambda: fail(SharedMemoryError("make /dev/shm larger")), "loading policy version 1")
    with pytest.raises(EngineError, match="loading policy version 1 failed: ValueError"):
        await thread.call(lambda: fail(ValueError("a bug")), "loading policy version 1")
