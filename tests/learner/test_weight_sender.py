"""The learner's end of a GPU transfer, as far as it goes without GPUs: the control calls, and what is sent."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch

from actors.learner.group import PendingCall
from actors.learner.trainer import Trainer
from actors.learner.weight_sender import EngineClient, WeightSender, learner_source
from actors.settings import OptimizerSettings
from cluster.devices import WeightBackend
from cluster.errors import DeadlineError
from cluster.transfer_actions import Begin, End, Join, Receive, TransferAction
from cluster.weight_transport import InFlight


class Engine:
    """In the place of a rollout actor's handle: remembers the actions."""

    def __init__(self) -> None:
        self.actions: list[TransferAction] = []
        self.transfer = SimpleNamespace(remote=self.actions.append)


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get", lambda calls, timeout: calls)


class Silent:
    """A rollout actor that never does what it is given."""

    async def transfer(self, action: TransferAction) -> None:
        await asyncio.Event().wait()


class Prompt:
    """A rollout actor that has done at once what it is given."""

    async def transfer(self, action: TransferAction) -> None:
        return None


def client(*engines: Engine, gpus: tuple[int, ...] = (1, 1)) -> EngineClient:
    named = {f"rollout-{number}": engine for number, engine in enumerate(engines)}
    return EngineClient(WeightBackend.NCCL, named, gpus, InFlight.CONTINUE, deadline_s=5)  # type: ignore[arg-type]


def test_each_engine_joins_after_the_ranks_of_those_before_it(no_ray: None) -> None:
    first, second, third = Engine(), Engine(), Engine()
    client(first, second, third, gpus=(2, 4, 1)).init_weight_transfer_engine({"rank_offset": 1, "world_size": 8})
    offsets = [
        action.init_info["rank_offset"]
        for engine in (first, second, third)
        for action in engine.actions
        if isinstance(action, Join)
    ]
    assert offsets == [1, 3, 7]


def test_a_transfer_without_ranks_needs_no_offset(no_ray: None) -> None:
    engine = Engine()
    client(engine, gpus=(1,)).init_weight_transfer_engine({"packed": True})
    assert engine.actions == [Join(WeightBackend.NCCL, {"packed": True})]


def test_an_update_stops_the_engines_feeds_them_and_names_the_version(no_ray: None) -> None:
    engines = Engine(), Engine()
    calls = client(*engines)
    calls.version = 4
    calls.start_weight_update()
    calls.update_weights({"names": ["a"]})
    calls.finish_weight_update()
    expected = [Begin(InFlight.CONTINUE), Receive({"names": ["a"]}), End(4)]
    assert [engine.actions for engine in engines] == [expected, expected]


@pytest.mark.ray
def test_an_engine_that_does_not_answer_is_named_with_the_key_to_raise(ray_cluster: None) -> None:
    engines = {
        "rollout-0": ray.remote(Prompt).options(num_cpus=0).remote(),
        "rollout-1": ray.remote(Silent).options(num_cpus=0).remote(),
    }
    ray.get(engines["rollout-0"].transfer.remote(End(0)))
    calls = EngineClient(WeightBackend.NCCL, engines, [1, 1], InFlight.FINISH, deadline_s=0.5)
    message = r"new weights took more than 0.5 s, and waited for rollout-1: raise rollout.deadline_s, or look"
    with pytest.raises(DeadlineError, match=message):
        calls.start_weight_update()
    for engine in engines.values():
        ray.kill(engine)


@pytest.mark.ray
def test_what_an_engine_is_late_with_reaches_the_driver_in_one_line(ray_cluster: None) -> None:
    @ray.remote(num_cpus=0)
    def send_weights() -> None:
        raise DeadlineError("rollout-1 is late")

    with pytest.raises(DeadlineError) as raised:
        PendingCall("send_weights", [send_weights.remote()], 60.0, "rollout.deadline_s").result()
    assert str(raised.value) == "rollout-1 is late"


@pytest.mark.parametrize("zero_stage", [2, 3])
def test_what_is_sent_is_what_was_declared_and_stays_what_it_was(
    make_trainer: Callable[..., Trainer], model_folder: Path, zero_stage: int
) -> None:
    from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerWeightTransferEngine

    trainer = make_trainer(zero_stage=zero_stage)
    trainer.load(str(model_folder), OptimizerSettings(), total_steps=1)
    source = learner_source(lambda: trainer.engine.module.model)
    sent = dict(NCCLTrainerWeightTransferEngine._checked_iter(source, source.metadata()))
    weights = trainer.weights()
    assert sent.keys() | {"lm_head.weight"} == weights.keys()
    assert all(torch.equal(tensor, torch.from_numpy(weights[name])) for name, tensor in sent.items())


class Joined(Exception):
    """Stands for a transfer: there is no GPU to have one on."""


@pytest.mark.parametrize("backend", [WeightBackend.CUDA_IPC, WeightBackend.NCCL])
def test_buffers_are_small_and_hold_the_largest_parameter(
    monkeypatch: pytest.MonkeyPatch, backend: WeightBackend
) -> None:
    from vllm.distributed.weight_transfer import WeightTransferTrainerFactory

    class Model:
        def named_parameters(self) -> list[tuple[str, torch.Tensor]]:
            with torch.device("meta"):
                return [("small", torch.empty(4)), ("embedding", torch.empty(151_936, 4096, dtype=torch.bfloat16))]

    def join(init_info: Any, **_: object) -> None:
        embedding, buffer = 151_936 * 4096 * 2, init_info.packed_buffer_size_bytes
        assert init_info.packed
        assert buffer == (embedding if backend is WeightBackend.CUDA_IPC else 128 * 2**20)
        raise Joined

    monkeypatch.setattr(WeightTransferTrainerFactory, "trainer_init", join)
    to = EngineClient(backend, {}, [], InFlight.FINISH, deadline_s=5)
    with pytest.raises(Joined):
        WeightSender(lambda: Model(), 0, to, ("localhost", 1))  # type: ignore[arg-type,return-value]
