"""An actor ends with its engine, and with nothing less."""

import asyncio
from collections.abc import Mapping

import numpy as np
import pytest
import ray
from ray.exceptions import RayActorError

from actors.engine_host import Activity, EngineHost
from actors.engines.base import EngineError, Generation, GenerationRequest, OnTokens, StopReason
from actors.engines.remote import RemoteEngine
from actors.rollout import RolloutWorker
from actors.settings import SamplingSettings
from cluster.weight_transport import InFlight

REQUEST = GenerationRequest(prompt_ids=[1], max_tokens=1, sampling=SamplingSettings())


class Engine:
    """Answers with token 7, refuses the request, or is dead."""

    def __init__(self, refuses: bool, dead: bool) -> None:
        self.refuses, self.dead = refuses, dead

    def check(self) -> None:
        if self.dead:
            raise EngineError("the engine died")

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        self.check()
        if self.refuses:
            raise EngineError("the prompt is too long")
        return Generation(
            np.array([7], np.int32), np.zeros(1, np.float32), np.zeros(1, np.int32), StopReason.LENGTH, 9, 8
        )

    async def update_weights(self, weights: Mapping[str, np.ndarray], version: int, in_flight: InFlight) -> None:
        self.check()
        if self.refuses:
            raise EngineError("the weights do not fit")

    async def sleep(self, keep_weights: bool) -> None:
        self.check()

    async def wake_weights(self) -> None:
        self.check()

    async def wake_kv_cache(self) -> None:
        self.check()


def restarted() -> bool:
    return ray.get_runtime_context().was_current_actor_reconstructed


class Host(EngineHost):
    """Its engine is dead until Ray restarts the actor."""

    def __init__(self, refuses: bool, dead: bool) -> None:
        self.engine = Engine(refuses, dead and not restarted())  # type: ignore[assignment]


class Worker(RolloutWorker):
    def __init__(self, refuses: bool, dead: bool) -> None:
        self.engine = Engine(refuses, dead and not restarted())  # type: ignore[assignment]


@pytest.mark.ray
def test_a_dead_engine_ends_the_actor_and_the_next_one_answers(ray_cluster: None) -> None:
    host = ray.remote(Host).options(num_cpus=0, max_restarts=1).remote(refuses=False, dead=True)
    first = ray.get(host.ready.remote())
    with pytest.raises(RayActorError):
        ray.get(host.generate.remote(REQUEST))
    second = ray.get(host.ready.options(max_task_retries=-1).remote())
    assert second != first
    assert ray.get(host.generate.remote(REQUEST)).token_ids.tolist() == [7]
    ray.kill(host)


@pytest.mark.ray
def test_a_dead_engine_ends_a_rollout_worker_that_is_given_weights(ray_cluster: None) -> None:
    worker = ray.remote(Worker).options(num_cpus=0, max_restarts=1).remote(refuses=False, dead=True)
    update = worker.update_weights.options(max_task_retries=-1)
    assert ray.get(update.remote({}, 4)) == 4
    ray.kill(worker)


@pytest.mark.ray
@pytest.mark.parametrize("method", ["sleep", "wake_weights", "wake_kv_cache"])
def test_an_engine_that_died_in_its_sleep_ends_the_actor_and_the_next_one_answers(
    ray_cluster: None, method: str
) -> None:
    host = ray.remote(Host).options(num_cpus=0, max_restarts=1).remote(refuses=False, dead=True)
    call = getattr(host, method).options(max_task_retries=-1)
    ray.get(call.remote(True) if method == "sleep" else call.remote())
    assert ray.get(host.generate.remote(REQUEST)).token_ids.tolist() == [7]
    ray.kill(host)


@pytest.mark.ray
def test_a_refused_request_reaches_the_caller_and_the_actor_lives(ray_cluster: None) -> None:
    host = ray.remote(Host).options(num_cpus=0, max_restarts=1).remote(refuses=True, dead=False)
    first = ray.get(host.ready.remote())
    with pytest.raises(EngineError, match=r"^the prompt is too long$"):
        asyncio.run(RemoteEngine(host).generate(REQUEST))
    assert ray.get(host.ready.remote()) == first
    ray.kill(host)


@pytest.mark.ray
def test_a_caller_is_told_that_the_actor_is_gone(ray_cluster: None) -> None:
    host = ray.remote(Host).options(num_cpus=0, max_restarts=0).remote(refuses=False, dead=True)
    with pytest.raises(EngineError, match="the teacher actor failed"):
        asyncio.run(RemoteEngine(host).generate(REQUEST))
    ray.kill(host)


@pytest.mark.ray
def test_a_remote_turn_says_what_it_cost(ray_cluster: None) -> None:
    host = ray.remote(Host).options(num_cpus=0).remote(refuses=False, dead=False)
    generation = asyncio.run(RemoteEngine(host).generate(REQUEST))
    assert (generation.token_ids.tolist(), generation.prompt_tokens, generation.cached_tokens) == ([7], 9, 8)
    ray.kill(host)


class SharedGpu:
    """Has room for an engine when nobody else is on it."""

    def __init__(self) -> None:
        self.free = True

    async def set_free(self, free: bool) -> None:
        self.free = free

    async def is_free(self) -> bool:
        return self.free


class CrampedEngine(Engine):
    """Comes up only where there is room."""

    def __init__(self, gpu: ray.actor.ActorHandle, *_: object) -> None:
        super().__init__(refuses=False, dead=False)
        if not ray.get(gpu.is_free.remote()):
            raise ValueError("Free memory on device is less than desired")


class SleepingHost(EngineHost):
    engine_type = CrampedEngine  # type: ignore[assignment]

    async def die(self) -> None:
        import os

        os._exit(1)


@pytest.mark.ray
def test_an_engine_on_a_shared_gpu_comes_up_after_a_restart_when_it_is_woken(ray_cluster: None) -> None:
    gpu = ray.remote(SharedGpu).options(num_cpus=0).remote()
    host = ray.remote(SleepingHost).options(num_cpus=0, max_restarts=-1).remote(gpu, None, None, 0, True)
    ray.get(host.ready.remote())
    ray.get(gpu.set_free.remote(False))  # the learner's turn
    with pytest.raises(RayActorError):
        ray.get(host.die.remote())
    assert ray.get(host.ready.options(max_task_retries=-1).remote())  # and is not lost for lack of room
    assert ray.get(host.activity.remote()) == Activity(tokens=0, finished=0)  # which starts no engine
    with pytest.raises(EngineError, match=r"shares with the learner: Free memory(?s:.*)Resume the run"):
        ray.get(host.wake_weights.remote())
    ray.get(gpu.set_free.remote(True))
    ray.get(host.wake_weights.remote())
    assert ray.get(host.generate.remote(REQUEST)).token_ids.tolist() == [7]
    ray.kill(host)
    ray.kill(gpu)
