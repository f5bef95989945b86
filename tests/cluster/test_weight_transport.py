"""Weight transports: what each asks of the learner and of the workers, and which one is chosen."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from cluster.devices import Device, WeightBackend, weight_backend
from cluster.weight_transport import GpuTransport, InFlight, SharedMemoryTransport, weight_transport


class Learner:
    def __init__(self, gpus: set[str]) -> None:
        self.log: list[object] = []
        self._gpus = gpus

    def gpus(self) -> set[str]:
        return self._gpus

    def weights(self) -> Any:
        return "reference"

    def connect_engines(
        self, backend: WeightBackend, engines: Mapping[str, Any], in_flight: InFlight, seconds: float
    ) -> None:
        self.log.append(("connect", backend, dict(engines), in_flight, seconds))

    def send_weights(self, version: int, seconds: float) -> None:
        self.log.append(("send", version, seconds))


class Workers:
    in_flight = InFlight.CONTINUE
    deadline_s = 90.0
    named_engines: Any = {"rollout-0": "first", "rollout-1": "second"}

    def __init__(self, gpus: set[str]) -> None:
        self.pids = [1, 2]
        self.log: list[object] = []
        self._gpus = gpus

    def gpus(self) -> set[str]:
        return self._gpus

    def processes(self) -> list[int]:
        return self.pids

    def load_weights(self, weights: Any, version: int) -> None:
        self.log.append(("load", weights, version))

    def took_weights(self, version: int, weights: Callable[[], Any]) -> None:
        self.log.append(("took", version, weights()))


def test_on_cpus_the_weights_go_through_shared_memory() -> None:
    learner, workers = Learner(set()), Workers(set())
    transport = weight_transport(Device.CPU, learner, workers, beside_learning=False)
    transport.sync(3)
    assert isinstance(transport, SharedMemoryTransport)
    assert (learner.log, workers.log) == ([], [("load", "reference", 3)])


def test_on_gpus_engines_are_met_once_and_again_after_a_restart() -> None:
    learner, workers = Learner({"n/0"}), Workers({"n/1", "n/2"})
    transport = weight_transport(Device.GPU, learner, workers, beside_learning=False)
    assert isinstance(transport, GpuTransport)
    transport.sync(1)
    transport.sync(2)
    workers.pids = [1, 7]
    transport.sync(3)
    met = ("connect", WeightBackend.NCCL, Workers.named_engines, InFlight.CONTINUE, 90.0)
    assert learner.log == [met, ("send", 1, 90.0), ("send", 2, 90.0), met, ("send", 3, 90.0)]
    assert workers.log == [("took", version, "reference") for version in (1, 2, 3)]


def test_nothing_is_sent_while_every_worker_restarts() -> None:
    learner, workers = Learner({"n/0"}), Workers({"n/1"})
    transport = weight_transport(Device.GPU, learner, workers, beside_learning=False)
    workers.pids = []
    transport.sync(1)
    assert (learner.log, workers.log) == ([], [("took", 1, "reference")])
    workers.pids = [1]
    transport.sync(2)
    assert [entry[0] for entry in learner.log] == ["connect", "send"]


@pytest.mark.parametrize(
    ("learner", "engines", "backend"),
    [
        ({"n/0"}, {"n/1"}, WeightBackend.NCCL),
        ({"n/0"}, {"m/0"}, WeightBackend.NCCL),
        ({"n/0", "n/1"}, {"n/1"}, WeightBackend.CUDA_IPC),
        ({"n/0"}, {"n/0", "n/1"}, WeightBackend.SHARED_MEMORY),
        (set(), set(), WeightBackend.SHARED_MEMORY),
    ],
)
def test_where_the_actors_run_decides_what_carries_the_weights(
    learner: set[str], engines: set[str], backend: WeightBackend
) -> None:
    assert weight_backend(learner, engines) is backend


def test_gpus_of_which_only_some_are_shared_use_host_memory() -> None:
    learner, workers = Learner({"n/0"}), Workers({"n/0", "n/1"})
    assert isinstance(weight_transport(Device.GPU, learner, workers, beside_learning=True), SharedMemoryTransport)


def test_engines_that_write_beside_learning_are_never_given_weights_of_a_step_under_way() -> None:
    learner = Learner({"n/0"})
    kept: list[Callable[[], Any]] = []

    class Keeping(Workers):
        def took_weights(self, version: int, weights: Callable[[], Any]) -> None:
            kept.append(weights)

    weight_transport(Device.GPU, learner, Keeping({"n/1"}), beside_learning=True).sync(1)
    learner.weights = lambda: pytest.fail("the learner was asked while it learns")  # type: ignore[method-assign]
    assert kept[0]() == "reference"
