"""How many requests are answered at a time, who waits, who is told to come back, and how the server gets empty."""

import asyncio

import pytest

from actors.serving.errors import ApiError
from actors.serving.guards.admission import Admission, Place
from actors.serving.guards.settings import GuardSettings


def admission(now: list[float] | None = None, **values: object) -> Admission:
    keys = [{"name": name, "key_env": name.upper()} for name in ("a", "b")]
    settings = GuardSettings.model_validate({"keys": keys} | values)
    return Admission(settings) if now is None else Admission(settings, lambda: now[0])


async def queued(tasks: list["asyncio.Task[Place]"], guard: Admission, waiting: int) -> None:
    """Let the tasks run until so many requests wait."""
    for _ in range(10):
        await asyncio.sleep(0)
    assert guard.waiting == waiting, tasks


async def test_requests_enter_in_their_order() -> None:
    guard = admission(max_concurrent=1)
    first = await guard.admit("a")
    tasks = [asyncio.create_task(guard.admit("a")) for _ in range(3)]
    await queued(tasks, guard, 3)
    place = first
    for i, task in enumerate(tasks):
        place.release()
        place = await task
        assert (guard.running, guard.waiting) == (1, 2 - i)
    place.release()
    place.release()
    assert guard.running == 0


async def test_a_full_queue_refuses() -> None:
    guard = admission(max_concurrent=1, queue={"max_waiting": 1})
    place = await guard.admit("a")
    waiting = asyncio.create_task(guard.admit("a"))
    await queued([waiting], guard, 1)
    with pytest.raises(ApiError, match="1 of at most 1 requests are being answered") as caught:
        await guard.admit("a")
    assert caught.value.status == 429 and caught.value.headers["retry-after"]
    place.release()
    (await waiting).release()


async def test_a_wait_that_takes_too_long_is_refused_and_leaves_the_queue() -> None:
    guard = admission(max_concurrent=1, queue={"max_wait_s": 0.01})
    place = await guard.admit("a")
    with pytest.raises(ApiError, match=r"none ended within 0\.01 s"):
        await guard.admit("b")
    assert guard.waiting == 0
    place.release()
    (await guard.admit("b")).release()


async def test_a_key_at_its_limit_lets_others_pass() -> None:
    guard = admission(max_concurrent=2, max_concurrent_per_key=1)
    first = await guard.admit("a")
    again = asyncio.create_task(guard.admit("a"))
    await queued([again], guard, 1)
    other = await guard.admit("b")
    assert (guard.running, guard.waiting) == (2, 1)
    other.release()
    assert guard.waiting == 1  # a has one running still
    first.release()
    (await again).release()


async def test_retry_after_is_the_recent_duration_times_those_ahead_over_the_places() -> None:
    now = [0.0]
    guard = admission(now, max_concurrent=2, queue={"max_waiting": 8})
    for _ in range(60):
        place = await guard.admit("a")
        now[0] += 30.0
        place.release()
    places = [await guard.admit("a") for _ in range(2)]
    assert guard.retry_after_s("b") == pytest.approx(15.0, rel=0.01)
    waiting = [asyncio.create_task(guard.admit("b")) for _ in range(3)]
    await queued(waiting, guard, 3)
    assert guard.retry_after_s("a") == pytest.approx(60.0, rel=0.01)
    for place in places:
        place.release()
    for task in waiting:
        (await task).release()


async def test_a_cancelled_wait_gives_its_place_to_the_next() -> None:
    guard = admission(max_concurrent=1)
    place = await guard.admit("a")
    gone, stays = asyncio.create_task(guard.admit("a")), asyncio.create_task(guard.admit("a"))
    await queued([gone, stays], guard, 2)
    gone.cancel()
    place.release()
    (await stays).release()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert guard.running == 0


async def test_a_wait_cancelled_in_the_moment_of_its_admission_gives_the_place_back() -> None:
    guard = admission(max_concurrent=1)
    place = await guard.admit("a")
    gone = asyncio.create_task(guard.admit("a"))
    await queued([gone], guard, 1)
    place.release()  # admits `gone`, which has not run since
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert guard.running == 0 and await guard.drained(1.0)


async def test_a_drain_refuses_new_and_waiting_requests_and_lets_running_ones_end() -> None:
    guard = admission(max_concurrent=1)
    place = await guard.admit("a")
    waiting = asyncio.create_task(guard.admit("a"))
    await queued([waiting], guard, 1)
    guard.drain()
    for refused in (waiting, guard.admit("a")):
        with pytest.raises(ApiError, match="shutting down") as caught:
            await refused
        assert caught.value.status == 503 and caught.value.headers["retry-after"]
    assert not await guard.drained(0.01)
    drained = asyncio.create_task(guard.drained())
    place.release()
    assert await drained


async def test_bodies_on_their_way_have_a_bound() -> None:
    guard = admission(max_concurrent=1, queue={"max_waiting": 1})
    async with guard.arriving("a"), guard.arriving("a"):
        with pytest.raises(ApiError, match=r"2 (of this API key )?wait or are on their way"):
            async with guard.arriving("a"):
                pass
    async with guard.arriving("a"):
        pass


async def test_one_key_cannot_take_all_places_for_bodies() -> None:
    guard = admission(max_concurrent=4, max_concurrent_per_key=2, queue={"max_waiting": 1})
    async with guard.arriving("a"), guard.arriving("a"), guard.arriving("a"):
        with pytest.raises(ApiError, match=r"3 of this API key wait or are on their way"):
            async with guard.arriving("a"):
                pass
        async with guard.arriving("b"):
            pass
