"""How new weights come from the learner to the rollout engines, and what becomes of the turns being written then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from cluster.devices import Device, WeightBackend, weight_backend

if TYPE_CHECKING:
    import ray
    from ray.actor import ActorHandle


class InFlight(StrEnum):
    """What becomes of a student's turns that are being written when new weights arrive."""

    FINISH = "finish"
    """they end under the old weights, and the new ones wait for them"""
    CONTINUE = "continue"
    """they go on under the new weights"""


class WeightTransport(Protocol):
    """Gives the learner's weights to all rollout engines."""

    def sync(self, version: int) -> None:
        """Return when all engines hold the learner's weights as policy `version`, with their prefix caches emptied."""
        ...


class Sender(Protocol):
    """What a transport needs of the learner; each call returns when all ranks are done, or raises at its deadline."""

    def weights(self) -> ray.ObjectRef[Any]:
        """Put the weights in the object store."""
        ...

    def gpus(self) -> set[str]:
        """Return the GPUs of all ranks, as `own_gpus` names them."""
        ...

    def connect_engines(self, backend: WeightBackend, engines: Sequence[ActorHandle[Any]], in_flight: InFlight) -> None:
        """Meet the engines in a transfer over `backend`, leaving an earlier one."""
        ...

    def send_weights(self, version: int) -> None:
        """Send the weights to the engines that were met last."""
        ...


class Receivers(Protocol):
    """What a transport needs of the rollout workers."""

    in_flight: InFlight

    @property
    def engines(self) -> Sequence[ActorHandle[Any]]:
        """Return those that work."""
        ...

    def processes(self) -> list[int]:
        """Return the process ids of `engines`: others after a restart."""
        ...

    def gpus(self) -> set[str]:
        """Return the GPUs of all engines, as `own_gpus` names them."""
        ...

    def load_weights(self, weights: ray.ObjectRef[Any], version: int) -> None:
        """Give all engines `weights` out of the object store."""
        ...

    def took_weights(self, version: int, weights: Callable[[], ray.ObjectRef[Any]]) -> None:
        """Note that the engines hold policy `version`; `weights` fetches it for one that restarts."""
        ...


class SharedMemoryTransport:
    """Through Ray's object store: shared memory on one node, one copy for each node. Works on every device."""

    def __init__(self, learner: Sender, workers: Receivers) -> None:
        self._learner, self._workers = learner, workers

    def sync(self, version: int) -> None:
        """See `WeightTransport.sync`."""
        self._workers.load_weights(self._learner.weights(), version)


class GpuTransport:
    """From GPU to GPU, by vLLM's weight-transfer engines: NCCL in packed buckets, or CUDA IPC where both share GPUs."""

    def __init__(self, backend: WeightBackend, learner: Sender, workers: Receivers, beside_learning: bool) -> None:
        """With `beside_learning` the engines write while the learner is at a step.

        It then has other weights than those of the last sync, which an engine that restarts needs: a copy is kept.
        """
        self._beside_learning = beside_learning
        self._backend, self._learner, self._workers = backend, learner, workers
        self._met: list[int] = []

    def sync(self, version: int) -> None:
        """See `WeightTransport.sync`; engines that have restarted are met anew."""
        if (processes := self._workers.processes()) != self._met:
            self._learner.connect_engines(self._backend, self._workers.engines, self._workers.in_flight)
            self._met = processes
        self._learner.send_weights(version)
        if self._beside_learning:
            kept = self._learner.weights()
            self._workers.took_weights(version, lambda: kept)
        else:
            self._workers.took_weights(version, self._learner.weights)


def weight_transport(device: Device, learner: Sender, workers: Receivers, beside_learning: bool) -> WeightTransport:
    """Return the fastest transport between these actors, by where they run; see `GpuTransport` for `beside_learning`."""
    if device is Device.CPU:
        return SharedMemoryTransport(learner, workers)
    backend = weight_backend(learner.gpus(), workers.gpus())
    if backend is WeightBackend.SHARED_MEMORY:
        return SharedMemoryTransport(learner, workers)
    return GpuTransport(backend, learner, workers, beside_learning)
