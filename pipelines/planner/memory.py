"""The memory of each role on its GPUs, by the estimate that a dry run shows."""

from __future__ import annotations

from cluster.devices import Device
from cluster.machine import Machines
from pipelines.experiment.schema import Experiment
from pipelines.memory.fit import judged
from pipelines.memory.roles import RoleMemory, memory_of
from pipelines.planner.hardware import Gpu
from pipelines.planner.known_sizes import known_size

_BOUNDLESS = 1e18


def gpu_memory(experiment: Experiment) -> list[RoleMemory]:
    """Return the memory of the roles that use a GPU, for an experiment `on_gpus`."""
    return [role for role in memory_of(experiment, size_of=known_size) if role.gpu]


def fits(experiment: Experiment, gpu: Gpu) -> bool:
    """Return whether each actor of an experiment `on_gpus` fits on GPUs of this kind. Host memory does not count."""
    machines = Machines("a node", _BOUNDLESS, _BOUNDLESS, _BOUNDLESS, gpu.memory_bytes)
    refused, _ = judged(experiment, memory_of(experiment, size_of=known_size), machines)
    return not refused


def on_gpus(experiment: Experiment) -> Experiment:
    """Return the experiment with every actor on GPUs of its own, as a plan divides them."""
    cluster = experiment.cluster.model_copy(update={"device": Device.GPU, "colocate": False})
    return experiment.model_copy(update={"cluster": cluster})
