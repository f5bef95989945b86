"""Turns that a client gives up, on a real teacher actor with a real engine: they end there as well."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.actor import ActorHandle

from actors.engines.base import GenerationRequest
from actors.engines.remote import RemoteEngine
from actors.settings import EngineSettings, SamplingSettings
from actors.teacher import TeacherActor
from cluster.devices import Device, engine_environment
from tests.engines.reference import PROMPT

pytestmark = pytest.mark.ray

SETTINGS = EngineSettings(dtype="float32", max_model_len=16384, max_num_seqs=8, block_size=32)
SHORT = GenerationRequest(PROMPT, 2, SamplingSettings(temperature=0.0))


class Teacher(TeacherActor):
    """Says what its engine has in hand."""

    async def unfinished(self) -> int:
        return self.engine._engine.get_num_unfinished_requests()

    async def turns(self) -> int:
        return len(self.engine._turns)


@pytest.fixture(scope="module")
def teacher(ray_cluster: None, tiny_model: Path) -> Iterator[ActorHandle[Any]]:
    import shutil
    import tempfile

    from transformers import AutoConfig

    with (
        tempfile.TemporaryDirectory() as folder
    ):  # the tiny model, with a context too long to be filled within the test
        copy = Path(folder) / "model"
        shutil.copytree(tiny_model, copy)
        config = AutoConfig.from_pretrained(copy)
        config.max_position_embeddings = SETTINGS.max_model_len
        config.save_pretrained(copy)
        actor = (
            ray.remote(Teacher)
            .options(
                num_cpus=0,
                max_concurrency=100,
                runtime_env={"env_vars": engine_environment(Device.CPU, threads=1)},
            )
            .remote(str(copy), SETTINGS, Device.CPU, 0)
        )
        ray.get(actor.ready.remote())
        yield actor
        ray.kill(actor)


async def test_calls_past_their_deadline_leave_nothing_in_the_teachers_engine(teacher: ActorHandle[Any]) -> None:
    engine = RemoteEngine(teacher)
    never_ending = GenerationRequest(PROMPT, 16000, SamplingSettings())

    async def call() -> None:
        async with asyncio.timeout(2):
            await engine.generate(never_ending)

    calls = [asyncio.create_task(call()) for _ in range(16)]  # twice as many as the engine writes at a time
    while await teacher.turns.remote() < len(calls):
        pass
    assert await teacher.unfinished.remote() > 0
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [TimeoutError] * len(calls)
    while await teacher.turns.remote():
        pass
    assert await teacher.unfinished.remote() == 0
    assert (await teacher.load.remote()).generated_tokens < never_ending.max_tokens  # given up, long before their ends
    assert len((await engine.generate(SHORT)).token_ids) > 0


async def test_a_followed_turn_crosses_the_actor_token_by_token(teacher: ActorHandle[Any]) -> None:
    told: list[list[int]] = []
    request = GenerationRequest(PROMPT, 200, SamplingSettings(temperature=0.0))

    generation = await RemoteEngine(teacher).generate(request, lambda ids, _: told.append(ids))

    assert [token for ids in told for token in ids] == generation.token_ids.tolist()
    assert len(told) > 1


async def test_a_followed_turn_that_is_given_up_ends_in_the_teachers_engine(teacher: ActorHandle[Any]) -> None:
    begun = asyncio.Event()
    turn = asyncio.ensure_future(
        RemoteEngine(teacher).generate(GenerationRequest(PROMPT, 16000, SamplingSettings()), lambda *_: begun.set())
    )
    await begun.wait()
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)

    await RemoteEngine(teacher).generate(SHORT)
    assert await teacher.unfinished.remote() == 0
