"""Brings new weights from the learner to the rollout engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from cluster.devices import Device, WeightBackend, weight_backend

if TYPE_CHECKING:
    import ray
    from ray.actor import ActorHandle


class InFlight(StrEnum):
    """What happens to the student's turns that are being written when new weights arrive."""

    FINISH = "finish"
    """they finish under the old weights; the new weights wait for them"""
    CONTINUE = "continue"
    """they continue under the new weights"""


class WeightTransport(Protocol):
    """Gives the learner's weights to the rollout workers that take orders; one that restarts gets them when it is back."""

    def sync(self, version: int) -> None:
        """Return when these workers hold the learner's weights as policy `version`, with their prefix caches emptied."""
        ...


class Sender(Protocol):
    """The learner's methods that a transport needs. Each call returns when all ranks are done, or raises at its deadline."""

    def weights(self) -> ray.ObjectRef[Any]:
        """Put the weights in the object store, and return a reference to them."""
        ...

    def gpus(self) -> set[str]:
        """Return the GPUs of all ranks, as `own_gpus` names them."""
        ...

    def connect_engines(
        self, backend: WeightBackend, engines: Mapping[str, ActorHandle[Any]], in_flight: InFlight, seconds: float
    ) -> None:
        """Leave any earlier transfer, and connect to the engines, by their names, over `backend`."""
        ...

    def send_weights(self, version: int, seconds: float) -> None:
        """Send the weights, as policy `version`, to the engines of the last `connect_engines`."""
        ...


class Receivers(Protocol):
    """The rollout workers' methods that a transport needs."""

    in_flight: InFlight
    deadline_s: float
    """time limit of a transfer: the value of rollout.deadline_s"""

    @property
    def named_engines(self) -> Mapping[str, ActorHandle[Any]]:
        """The workers that take orders, by their names; one that restarts is not among them."""
        ...

    def processes(self) -> list[int]:
        """Return the process ids of the workers that take orders. A restarted one has another."""
        ...

    def gpus(self) -> set[str]:
        """Return the GPUs of all engines, as `own_gpus` names them."""
        ...

    def load_weights(self, weights: ray.ObjectRef[Any], version: int) -> None:
        """Load `weights` from the object store into the workers that take orders, as policy `version`."""
        ...

    def took_weights(self, version: int, weights: Callable[[], ray.ObjectRef[Any]]) -> None:
        """Record that the workers hold policy `version`. `weights` returns these weights for one that restarts."""
        ...


class SharedMemoryTransport:
    """Sends weights through Ray's object store: shared memory, with one copy per node. Works on every device."""

    def __init__(self, learner: Sender, workers: Receivers) -> None:
        self._learner, self._workers = learner, workers

    def sync(self, version: int) -> None:
        """See `WeightTransport.sync`."""
        self._workers.load_weights(self._learner.weights(), version)


class GpuTransport:
    """Sends weights from GPU to GPU with vLLM's weight-transfer engines: by NCCL, or by CUDA IPC if both share their GPUs."""

    def __init__(self, backend: WeightBackend, learner: Sender, workers: Receivers, beside_learning: bool) -> None:
        """With `beside_learning`, the engines write while the learner takes a step.

        An engine that restarts then needs the weights of the last sync, which the learner no longer has. So a copy is kept.
        """
        self._beside_learning = beside_learning
        self._backend, self._learner, self._workers = backend, learner, workers
        self._met: list[int] = []

    def sync(self, version: int) -> None:
        """See `WeightTransport.sync`. If an engine has restarted, all engines are connected again first."""
        processes = self._workers.processes()
        if processes and processes != self._met:
            engines, in_flight = self._workers.named_engines, self._workers.in_flight
            self._learner.connect_engines(self._backend, engines, in_flight, self._workers.deadline_s)
        if processes:
            self._learner.send_weights(version, self._workers.deadline_s)
        self._met = processes
        if self._beside_learning:
            kept = self._learner.weights()
            self._workers.took_weights(version, lambda: kept)
        else:
            self._workers.took_weights(version, self._learner.weights)


def weight_transport(device: Device, learner: Sender, workers: Receivers, beside_learning: bool) -> WeightTransport:
    """Return the fastest transport between these actors, given where they run. `GpuTransport` explains `beside_learning`."""
    if device is Device.CPU:
        return SharedMemoryTransport(learner, workers)
    backend = weight_backend(learner.gpus(), workers.gpus())
    if backend is WeightBackend.SHARED_MEMORY:
        return SharedMemoryTransport(learner, workers)
    return GpuTransport(backend, learner, workers, beside_learning)
