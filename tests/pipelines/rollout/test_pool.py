"""The rollout pool on real Ray: every order once, slow and dead workers in nobody's way."""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
import ray
from ray.actor import ActorHandle

from actors.relay.handoff import RelayPrompt
from actors.rollout import Policy, RolloutOrder, StaleWeightsError
from actors.settings import RelayLimits, SamplingSettings
from pipelines.rollout.pool import ATTEMPTS, FinishedOrder, RolloutError, RolloutPool
from rewards.schemes import RewardError

pytestmark = pytest.mark.ray


class Worker:
    """Answers an order with its name and prompt; the prompt's first token says what else is to happen."""

    DIE_ONCE, FAIL, BLOCK, DIE = 1001, 1002, 1003, 1004

    def __init__(self, name: str, memory: ActorHandle[Any]) -> None:
        self.name, self.memory = name, memory
        self.version = 0
        self.releases = asyncio.Semaphore(0)

    async def ready(self) -> int:
        return os.getpid()

    async def update_weights(self, weights: str, version: int, in_flight: str = "finish") -> int:
        self.version = version
        return version

    async def release(self) -> None:
        """Let one order go on that blocks, or will."""
        self.releases.release()

    async def rollout(self, order: RolloutOrder) -> tuple[str, int]:
        first = order.prompts[0].student_ids[0]
        times = await self.memory.count.remote(self.name, first)
        if self.version != order.version:
            raise StaleWeightsError(f"{self.version} is not {order.version}")
        if first == self.FAIL:
            raise ValueError("nothing works")
        if first == self.DIE or (first == self.DIE_ONCE and times == 1):
            os._exit(1)
        if first == self.BLOCK:
            await self.releases.acquire()
        return self.name, first


class Gate:
    """Holds back who waits at it until it is opened."""

    def __init__(self) -> None:
        self.open_now = asyncio.Event()

    async def open(self) -> None:
        self.open_now.set()

    async def wait(self) -> None:
        await self.open_now.wait()


class LateWorker(Worker):
    """A worker whose start takes until a gate is open, as if the cluster had no room for it before; or fails."""

    def __init__(self, name: str, memory: ActorHandle[Any], gate: ActorHandle[Any], fails: bool = False) -> None:
        ray.get(gate.wait.remote())
        if fails:
            raise ValueError("no such model")
        super().__init__(name, memory)


class Memory:
    """Outlives the workers: which of them has been given what, how often."""

    def __init__(self) -> None:
        self.given: list[tuple[str, int]] = []

    def count(self, worker: str, first: int) -> int:
        self.given.append((worker, first))
        return sum(earlier == first for _, earlier in self.given)

    def all(self) -> list[tuple[str, int]]:
        return self.given

    def clear(self) -> None:
        self.given = []


class Grader:
    """The batch's prompt says what is to happen at its first grading."""

    DIE_ONCE, FAIL_ONCE, NO_REWARD = 2001, 2002, 2003

    def __init__(self, memory: ActorHandle[Any]) -> None:
        self.memory = memory

    async def grade(self, batch: tuple[str, int], number: int) -> tuple[str, int, int]:
        times = await self.memory.count.remote("grader", batch[1])
        if batch[1] == self.DIE_ONCE and times == 2:  # the worker was the first to count
            os._exit(1)
        if batch[1] == self.FAIL_ONCE and times == 2:
            raise ValueError("cannot be graded")
        if batch[1] == self.NO_REWARD:
            raise RewardError("scheme 'mine' returned nan")
        return (*batch, number)


def order(first: int = 0, samples: int = 1, version: int = 0) -> RolloutOrder:
    return RolloutOrder(
        prompts=(RelayPrompt((first,), (first,)),),
        samples=samples,
        policy=Policy.RELAY,
        limits=RelayLimits(),
        sampling=SamplingSettings(),
        teacher_sampling=SamplingSettings(),
        version=version,
    )


@pytest.fixture(scope="module")
def grade(shared_memory: ActorHandle[Any]) -> Iterator[Callable[[int, ray.ObjectRef[Any]], ray.ObjectRef[Any]]]:
    grader = ray.remote(Grader).options(num_cpus=0, max_restarts=-1).remote(shared_memory)
    yield lambda number, batch: grader.grade.options(max_task_retries=-1).remote(batch, number)
    ray.kill(grader)


@pytest.fixture(scope="module")
def shared_memory(ray_cluster: None) -> Iterator[ActorHandle[Any]]:
    actor = ray.remote(Memory).options(num_cpus=0).remote()
    yield actor
    ray.kill(actor)


@pytest.fixture
def memory(shared_memory: ActorHandle[Any]) -> ActorHandle[Any]:
    ray.get(shared_memory.clear.remote())
    return shared_memory


@pytest.fixture(scope="module")
def workers(shared_memory: ActorHandle[Any]) -> Iterator[dict[str, ActorHandle[Any]]]:
    """Two workers that Ray restarts; a test gets them as if they were new."""
    options = {"num_cpus": 0, "max_concurrency": 100, "max_restarts": -1}
    started = {name: ray.remote(Worker).options(**options).remote(name, shared_memory) for name in ("a", "b")}
    yield started
    for actor in started.values():
        ray.kill(actor)


@pytest.fixture
def pool_of(workers: dict[str, ActorHandle[Any]], memory: ActorHandle[Any]) -> Callable[..., RolloutPool]:
    def pool(*names: str, sequences_in_flight: int = 8, deadline_s: float = 60.0) -> RolloutPool:
        chosen = [workers[name] for name in names]
        ray.get([actor.update_weights.options(max_task_retries=-1).remote("first", 0) for actor in chosen])
        return RolloutPool(chosen, sequences_in_flight, deadline_s)

    return pool


@pytest.fixture
def mortal_pool_of(memory: ActorHandle[Any]) -> Iterator[Callable[..., RolloutPool]]:
    """Pools of workers that Ray does not restart."""
    started: list[ActorHandle[Any]] = []

    def pool(*names: str) -> RolloutPool:
        options = {"num_cpus": 0, "max_concurrency": 100, "max_restarts": 0}
        started.extend(ray.remote(Worker).options(**options).remote(name, memory) for name in names)
        return RolloutPool(started, sequences_in_flight=1, deadline_s=60.0)

    yield pool
    for actor in started:
        ray.kill(actor)


def decoded(
    pool: RolloutPool, orders: Sequence[RolloutOrder], grade: Callable[[int, ray.ObjectRef[Any]], ray.ObjectRef[Any]]
) -> Iterator[FinishedOrder[Any]]:
    """Yield the orders as they finish."""
    with closing(pool.stream(grade)) as stream:
        for each in orders:
            stream.add(each)
        for _ in orders:
            yield stream.next()


def firsts(finished: Sequence[FinishedOrder[Any]]) -> list[int]:
    return sorted(found.graded[1] for found in finished)


def decodings(memory: ActorHandle[Any]) -> list[tuple[str, int]]:
    return [(name, first) for name, first in ray.get(memory.all.remote()) if name != "grader"]


def test_every_order_comes_back_once_with_its_number_and_its_batch(pool_of: Any, grade: Any) -> None:
    finished = list(decoded(pool_of("a", "b", sequences_in_flight=2), [order(10 + i) for i in range(12)], grade))
    assert sorted(found.number for found in finished) == list(range(12))
    assert all(found.graded[1:] == (10 + found.number, found.number) for found in finished)
    assert all(ray.get(found.batch) == found.graded[:2] for found in finished)
    assert {found.graded[0] for found in finished} == {"a", "b"}


def test_no_orders_are_no_results(pool_of: Any, grade: Any) -> None:
    assert list(decoded(pool_of(), [], grade)) == []


def test_an_order_larger_than_the_bound_goes_out_alone(pool_of: Any, grade: Any) -> None:
    finished = list(decoded(pool_of("a", sequences_in_flight=2), [order(1, samples=5), order(2, samples=5)], grade))
    assert firsts(finished) == [1, 2]


def test_a_stuck_worker_holds_up_its_own_order_only(pool_of: Any, grade: Any) -> None:
    pool = pool_of("a", "b", sequences_in_flight=4)
    stuck = order(Worker.BLOCK, samples=4)
    running = decoded(pool, [stuck, *(order(i) for i in range(20))], grade)
    others = [next(running) for _ in range(20)]
    assert firsts(others) == list(range(20))
    assert {found.graded[0] for found in others} == {"b"}
    ray.get(pool.actors[0].release.remote())
    assert [found.graded for found in running] == [("a", Worker.BLOCK, 0)]


def test_an_order_goes_to_the_worker_with_the_fewest_sequences(pool_of: Any, grade: Any) -> None:
    pool = pool_of("a", "b", sequences_in_flight=8)
    running = decoded(pool, [order(Worker.BLOCK, samples=3), order(Worker.BLOCK, samples=1), order(7)], grade)
    assert next(running).graded == ("b", 7, 2)
    ray.get([actor.release.remote() for actor in pool.actors])
    assert {found.graded[0] for found in running} == {"a", "b"}


def test_a_worker_with_old_weights_is_given_the_new_ones_and_the_order_again(
    pool_of: Any, grade: Any, memory: Any
) -> None:
    pool = pool_of("a")
    pool.load_weights(ray.put("weights"), version=3)
    ray.get(pool.actors[0].update_weights.remote("older", 2))
    assert [found.graded for found in decoded(pool, [order(5, version=pool.version)], grade)] == [("a", 5, 0)]
    assert decodings(memory) == [("a", 5)] * 2


def test_orders_of_a_worker_that_died_are_decoded_by_one_with_the_current_weights(
    pool_of: Any, grade: Any, memory: Any
) -> None:
    pool = pool_of("a")
    pool.load_weights(ray.put("weights"), version=2)
    finished = list(decoded(pool, [order(Worker.DIE_ONCE, version=2), order(1, version=2)], grade))
    assert firsts(finished) == [1, Worker.DIE_ONCE]
    assert decodings(memory).count(("a", Worker.DIE_ONCE)) == 2  # none was wasted while Ray restarted it


def test_others_go_on_while_a_worker_restarts_and_it_comes_back(pool_of: Any, grade: Any) -> None:
    pool = pool_of("a", "b", sequences_in_flight=1)
    assert firsts(list(decoded(pool, [order(Worker.DIE_ONCE), order(1), order(2)], grade))) == [1, 2, Worker.DIE_ONCE]
    pool.load_weights(ray.put("weights"), version=1)  # does not wait for the one that restarts
    while pool.restarting:
        pool.advance()
    finished = list(decoded(pool, [order(3, version=1), order(4, version=1)], grade))
    assert {found.graded[0] for found in finished} == {"a", "b"} and firsts(finished) == [3, 4]


def test_a_worker_that_is_lost_leaves_its_orders_to_the_others(mortal_pool_of: Any, grade: Any) -> None:
    pool = mortal_pool_of("a", "b")
    assert pool.named_engines == {"rollout-0": pool.actors[0], "rollout-1": pool.actors[1]}
    finished = list(decoded(pool, [order(Worker.DIE_ONCE), order(1)], grade))
    assert {found.graded[:2] for found in finished} == {("b", 1), ("b", Worker.DIE_ONCE)}
    assert pool.named_engines == {"rollout-1": pool.actors[1]}


@pytest.fixture
def gate(ray_cluster: None) -> Iterator[ActorHandle[Any]]:
    actor = ray.remote(Gate).options(num_cpus=0, max_concurrency=10).remote()
    yield actor
    ray.kill(actor)


@pytest.fixture
def late(memory: ActorHandle[Any], gate: ActorHandle[Any]) -> Iterator[Callable[..., ActorHandle[Any]]]:
    started: list[ActorHandle[Any]] = []

    def worker(name: str, fails: bool = False) -> ActorHandle[Any]:
        options = {"num_cpus": 0, "max_concurrency": 100, "max_restarts": 0}
        started.append(ray.remote(LateWorker).options(**options).remote(name, memory, gate, fails))
        return started[-1]

    yield worker
    for actor in started:
        ray.kill(actor)


def test_a_worker_that_comes_later_joins_with_the_current_weights(
    workers: Any, pool_of: Any, grade: Any, memory: Any, gate: Any, late: Any
) -> None:
    pool_of("a")  # sets the worker's weights back
    pool = RolloutPool([workers["a"]], 1, 60.0, later=[late("c")])
    assert {found.graded[0] for found in decoded(pool, [order(1), order(2)], grade)} == {"a"}
    pool.load_weights(ray.put("weights"), version=3)  # does not wait for the one that is absent
    assert pool.absent == ["rollout-1"] and list(pool.named_engines) == ["rollout-0"]

    ray.get(gate.open.remote())
    while pool.absent or pool.restarting:
        pool.advance()
    assert list(pool.named_engines) == ["rollout-0", "rollout-1"]
    blocked = order(Worker.BLOCK, version=3)  # keeps "a", the first free one, busy
    running = decoded(pool, [blocked, order(5, version=3)], grade)
    assert next(running).graded == ("c", 5, 1)
    assert decodings(memory).count(("c", 5)) == 1  # it was not refused for old weights
    ray.get(workers["a"].release.remote())
    assert next(running).graded[0] == "a"


def test_a_worker_that_cannot_start_does_not_join_and_the_others_go_on(
    workers: Any, pool_of: Any, grade: Any, gate: Any, late: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pool_of("a")
    pool = RolloutPool([workers["a"]], 1, 60.0, later=[late("c", fails=True)])
    ray.get(gate.open.remote())
    while pool.absent:
        pool.advance()
    assert "rollout-1 cannot join the run: " in caplog.text and "no such model" in caplog.text
    assert {found.graded[0] for found in decoded(pool, [order(1), order(2)], grade)} == {"a"}


def test_a_worker_that_is_replaced_has_the_weights_before_it_gets_orders(pool_of: Any, grade: Any, memory: Any) -> None:
    pool = pool_of("a")
    pool.load_weights(ray.put("weights"), version=3)
    before = ray.get(pool.actors[0].ready.remote())
    pool.replace("rollout-0")
    assert [found.graded for found in decoded(pool, [order(5, version=3)], grade)] == [("a", 5, 0)]
    assert decodings(memory) == [("a", 5)]  # none was refused for old weights
    assert ray.get(pool.actors[0].ready.remote()) != before


def test_the_loss_of_the_last_worker_ends_the_run(mortal_pool_of: Any, grade: Any) -> None:
    with pytest.raises(RolloutError, match="no rollout worker is left"):
        list(decoded(mortal_pool_of("a"), [order(Worker.DIE)], grade))


def test_an_order_that_always_fails_ends_the_run_with_its_cause(pool_of: Any, grade: Any, memory: Any) -> None:
    with pytest.raises(RolloutError, match=r"order 1 failed 3 times(?s:.*)nothing works"):
        list(decoded(pool_of("a", "b"), [order(1), order(Worker.FAIL)], grade))
    assert sum(first == Worker.FAIL for _, first in decodings(memory)) == ATTEMPTS


def test_an_order_past_its_deadline_goes_out_again(pool_of: Any, grade: Any, memory: Any) -> None:
    pool = pool_of("a", deadline_s=0.5)
    with pytest.raises(RolloutError, match=r"order 0 failed 3 times, at last with: no answer within 0.5 s"):
        list(decoded(pool, [order(Worker.BLOCK)], grade))
    assert sum(first == Worker.BLOCK for _, first in decodings(memory)) == ATTEMPTS


def test_orders_of_a_stream_are_decoded_while_another_one_is_read(pool_of: Any, grade: Any) -> None:
    pool = pool_of("a", sequences_in_flight=8)
    late = pool.stream(grade)
    late.add(order(Worker.BLOCK))
    late.add(order(1))
    assert late.next().graded[1] == 1
    assert firsts(list(decoded(pool, [order(2), order(3)], grade))) == [2, 3]
    assert late.started_by(0) == 0
    ray.get(pool.actors[0].release.remote())
    while not late.finished:
        pool.advance()
    assert late.started_by(0) == 0
    assert late.next().graded == ("a", Worker.BLOCK, 0)


def test_an_order_is_for_the_weights_that_the_pool_has_when_it_goes_out(pool_of: Any, grade: Any) -> None:
    pool = pool_of("a", sequences_in_flight=2)
    stream = pool.stream(grade)
    for waiting in (order(Worker.BLOCK), order(1), order(2, samples=2)):
        stream.add(waiting)
    assert stream.next().version == 0
    assert (stream.started_by(0), stream.started_by(2)) == (0, None)
    pool.load_weights(ray.put("weights"), version=4)
    ray.get(pool.actors[0].release.remote())
    assert [(found.number, found.version) for found in (stream.next(), stream.next())] == [(0, 0), (2, 4)]


def test_orders_of_a_closed_stream_make_room_for_others(pool_of: Any, grade: Any, memory: Any) -> None:
    pool = pool_of("a", sequences_in_flight=2)
    stream = pool.stream(grade)
    for given_up in (order(Worker.BLOCK), order(1), order(2, samples=2)):
        stream.add(given_up)
    stream.next()
    stream.close()
    assert firsts(list(decoded(pool, [order(3, samples=2)], grade))) == [3]
    assert {first for _, first in decodings(memory)} == {Worker.BLOCK, 1, 3}


@pytest.mark.parametrize("trouble", [Grader.DIE_ONCE, Grader.FAIL_ONCE])
def test_only_the_grading_is_repeated_when_it_fails(pool_of: Any, grade: Any, memory: Any, trouble: int) -> None:
    pool = pool_of("a")
    assert [found.graded for found in decoded(pool, [order(trouble)], grade)] == [("a", trouble, 0)]
    assert ray.get(memory.all.remote()) == [("a", trouble), ("grader", trouble), ("grader", trouble)]
    assert [found.graded for found in decoded(pool, [order(5)], grade)] == [("a", 5, 0)]


def test_a_lost_grader_sets_no_worker_aside(pool_of: Any, memory: Any) -> None:
    graders = [ray.remote(Grader).options(num_cpus=0, max_restarts=0).remote(memory) for _ in range(2)]
    turn = iter(graders)
    pool = pool_of("a")
    given: Any = lambda number, batch: next(turn).grade.remote(batch, number)  # noqa: E731
    assert [found.graded for found in decoded(pool, [order(Grader.DIE_ONCE)], given)] == [("a", Grader.DIE_ONCE, 0)]
    assert [name for name, _ in ray.get(memory.all.remote())] == ["a", "grader", "grader"]
    for grader in graders:
        ray.kill(grader)


def test_a_reward_that_is_none_ends_the_stream_at_once_and_says_what_the_scheme_returned(
    pool_of: Callable[..., RolloutPool], grade: Any, memory: ActorHandle[Any]
) -> None:
    with pytest.raises(RolloutError, match=r"^scheme 'mine' returned nan$"):
        list(decoded(pool_of("a"), [order(Grader.NO_REWARD)], grade))
    assert [name for name, _ in ray.get(memory.all.remote())].count("grader") == 1
