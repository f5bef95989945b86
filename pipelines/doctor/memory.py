"""Checks the estimated memory of a run against what its machines have."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.devices import Device
from cluster.machine import Machines
from pipelines.doctor.findings import Finding, Group, broken, fine, warning
from pipelines.experiment.schema import Experiment
from pipelines.memory.fit import judged
from pipelines.memory.roles import GB, memory_of


def memory(experiment: Experiment, machines: Machines, group: Group = Group.MACHINE) -> Iterator[Finding]:
    """Yield what surely does not fit, and what is near the limit; or one line if all fits."""
    roles = memory_of(experiment)
    refused, near = judged(experiment, roles, machines)
    for lines, make in ((refused, broken), (near, warning)):
        for line in lines:
            text, _, advice = line.rpartition(". ")
            yield make(group, "memory", text, advice)
    if refused or near:
        return
    needed = sum(role.host_all for role in roles) / GB
    text = f"the run needs about {needed:.1f} GB of the {machines.total / GB:.1f} GB of {machines.where}"
    unknown = [role.role for role in roles if not role.known]
    if unknown:
        text += f", without the weights of {' and '.join(unknown)}, whose size is not known here"
    if experiment.cluster.device is Device.GPU and machines.gpu is None:
        text += "; GPU memory is not compared, as no size is known"
    yield fine(group, "memory", text)


def shared_bytes(experiment: Experiment) -> float:
    """Return how many bytes of weights a run puts into shared memory."""
    return sum(role.host_all for role in memory_of(experiment) if role.role == "object store")
