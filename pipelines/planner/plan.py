"""A plan: where its rates and shapes come from, the split, and what the simulation predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.devices import Device
from pipelines.experiment.errors import ConfigError
from pipelines.experiment.schema import Experiment
from pipelines.memory.roles import GB
from pipelines.planner.hardware import ASSUMED, GPUS
from pipelines.planner.known_sizes import size_for_plan
from pipelines.planner.measured import measured, measured_rates
from pipelines.planner.memory import gpu_memory, on_gpus
from pipelines.planner.shapes import Shape, assumed, recorded
from pipelines.planner.simulation import Layout, Predicted, simulate
from pipelines.planner.split import best_split, layout_of


@dataclass(frozen=True, slots=True)
class Role:
    """One kind of actor in a plan."""

    name: str
    count: int
    gpus: int
    """of all its actors together; 0 on a machine without"""
    memory_gb: float | None
    """estimated for one GPU; None if it has none"""
    busy: float
    """share of a step in which it works"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is proposed and predicted."""

    name: str
    layout: Layout
    roles: tuple[Role, ...]
    predicted: Predicted
    rates_from: str
    shapes_from: str
    keys: tuple[str, ...]
    """overrides that make the experiment use this split"""


def planned(experiment: Experiment, gpus: int | None, gpu: str | None, run: Path | None) -> Plan:
    """Return the plan of an experiment. Raises `ConfigError` if it cannot be made; the message names the key or option."""
    if not experiment.grpo.enabled:
        raise ConfigError(["grpo.enabled (false) should be true: a plan is about GRPO steps"])
    if not experiment.teachers:
        raise ConfigError(
            ["models.teacher.url: a plan divides GPUs, and a server has this teacher; give models.teacher.path"]
        )
    shapes = recorded(run) if run else assumed(experiment)
    shapes_from = (
        f"{len(shapes)} recorded answers of {run}" if run else "assumed: lognormal lengths, one call an answer"
    )
    if gpus is None or gpu is None:
        assert run is not None
        return _measured_plan(experiment, run, shapes, shapes_from)
    written, experiment = experiment, on_gpus(experiment)
    student = size_for_plan("models.student", experiment.models.student)
    teacher = size_for_plan("models.teacher", experiment.models.teacher)
    split = best_split(experiment, student, teacher, GPUS[gpu], gpus, shapes, ASSUMED)
    layout, predicted = split.layout, split.predicted
    with_ranks = experiment.learner.model_copy(update={"ranks": layout.ranks})
    memory = {
        role.role: role.gpu_each / GB for role in gpu_memory(experiment.model_copy(update={"learner": with_ranks}))
    }
    roles = (
        Role("rollout", layout.workers, split.student_gpus, memory.get("rollout"), predicted.student_busy),
        Role("teacher", layout.teachers, split.teacher_gpus, memory.get("teacher"), predicted.teacher_busy),
        Role("learner", layout.ranks, split.learner_gpus, memory.get("learner"), predicted.learner_busy),
    )
    rates_from = f"data sheet of {gpu}, and assumed shares of it that are reached"
    name = f"{experiment.name} on {gpus} x {gpu}"
    return Plan(name, layout, roles, predicted, rates_from, shapes_from, _keys(written, layout))


def _keys(written: Experiment, layout: Layout) -> tuple[str, ...]:
    """Return the overrides of the experiment as it is written. Each actor then has whole GPUs of its own, as in the plan."""
    cluster = written.cluster
    split = [
        f"rollout.workers={layout.workers}",
        f"teacher.replicas={layout.teachers}",
        f"learner.ranks={layout.ranks}",
    ]
    device = [] if cluster.device is Device.GPU else ["cluster.device=gpu"]
    apart = ["cluster.colocate=false"] if cluster.colocate else []
    whole = [f"cluster.gpus.{role}=1" for role in ("rollout", "teacher", "learner") if getattr(cluster.gpus, role) < 1]
    all_at_once = ["rollout.min_workers=null"] if written.rollout.min_workers is not None else []
    return (*split, *all_at_once, *device, *apart, *whole)


def _measured_plan(experiment: Experiment, run: Path, shapes: Sequence[Shape], shapes_from: str) -> Plan:
    layout = layout_of(experiment)
    predicted = simulate(layout, measured_rates(measured(run), shapes), shapes)
    roles = (
        Role("rollout", layout.workers, 0, None, predicted.student_busy),
        Role("teacher", layout.teachers, 0, None, predicted.teacher_busy),
        Role("learner", layout.ranks, 0, None, predicted.learner_busy),
    )
    return Plan(f"{experiment.name} on this machine", layout, roles, predicted, f"measured by {run}", shapes_from, ())


def as_mapping(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON holds it."""
    return asdict(plan) | {"bottleneck": plan.predicted.bottleneck}
