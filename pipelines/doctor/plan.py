"""Which checks an experiment needs: those of each machine that works for it, and those of the run as a whole."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cluster.devices import Device
from cluster.machine import this_machine
from pipelines.doctor import libraries as loaded
from pipelines.doctor import models, services, storage, versions
from pipelines.doctor.checks import Check
from pipelines.doctor.findings import Group
from pipelines.doctor.libraries import Wanted
from pipelines.doctor.memory import memory, shared_bytes
from pipelines.experiment.schema import Experiment

DATA_LIMIT_S = 60.0


def machine_checks(experiment: Experiment, gpus: float | None, environ: Mapping[str, str] | None = None) -> list[Check]:
    """Return the checks of one machine. It should have so many `gpus`; None if it need not have any."""
    device = experiment.cluster.device
    environ = os.environ if environ is None else environ
    wanted = Wanted(device, gpus, experiment.trains)
    return [
        Check(Group.SOFTWARE, "versions", lambda: versions.python_and_packages(device)),
        Check(
            Group.SOFTWARE, "libraries", lambda: loaded.libraries(wanted, environ), loaded.LIMIT_S + 10
        ),  # the process that loads them has the shorter limit, and says more
        Check(Group.MACHINE, "disks", lambda: storage.disks(experiment, environ)),
        Check(Group.MACHINE, "shared memory", lambda: [storage.shared_memory(shared_bytes(experiment))]),
    ]


def local_checks(experiment: Experiment) -> list[Check]:
    """Return the checks of this machine, for a run that starts its own Ray here."""
    gpus = experiment.resources()[1] if experiment.cluster.device is Device.GPU else None
    fit = Check(Group.MACHINE, "memory", lambda: memory(experiment, this_machine()), 30.0)
    return [*machine_checks(experiment, gpus), fit]


def run_checks(experiment: Experiment) -> list[Check]:
    """Return the checks of what a run reads and asks, wherever its actors are. They are made from this machine."""
    group = Group.MODELS_AND_DATA
    return [
        Check(group, "models", lambda: models.made_here(experiment)),
        Check(group, "model folders", lambda: models.model_folders(experiment)),
        Check(group, "hub", lambda: models.on_hub(experiment), models.HUB_LIMIT_S + 10),
        Check(group, "data files", lambda: models.local_data(experiment), DATA_LIMIT_S),
        Check(Group.SERVICES, "W&B", lambda: [services.wandb(experiment)], 30.0),
        Check(Group.SERVICES, "teacher", lambda: services.teachers(experiment), 30.0),
        Check(Group.SERVICES, "run_dir", lambda: services.store(experiment), 30.0),
    ]
