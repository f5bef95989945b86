"""Starts the actors of a run together at their reserved places, and stops them together."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import ray
from ray.actor import ActorHandle

from actors.engines.endpoint import Patience
from actors.engines.teachers import Recording, TeacherAccess
from actors.learner.group import LearnerGroup
from actors.reward import RewardActor
from actors.rollout import RolloutWorker
from actors.teacher import TeacherActor
from cluster.deadlines import START_TIMEOUT, results
from cluster.devices import Device, common_environment, engine_environment, learner_environment
from cluster.gpu_turns import GpuTurns
from cluster.heartbeat import Heartbeat
from cluster.placement import Bundle
from cluster.reservation import Reservation, reserve
from cluster.starting import watch_start
from cluster.supervision import ActorWatch
from cluster.weight_transport import weight_transport
from pipelines.experiment.schema import Experiment
from pipelines.experiment.stage_keys import teacher_model
from pipelines.models.base_models import BaseModels
from pipelines.rollout.activity import ActivityMonitor
from pipelines.rollout.pool import RolloutPool
from pipelines.rollout.weight_probe import WeightProbe
from pipelines.system.system import System, Training

_CONCURRENT_CALLS = 10_000

Part = Literal["learner", "citer"]
"""actors that only some runs need"""


@contextmanager
def starting_system(
    experiment: Experiment, models: BaseModels, parts: Collection[Part], watch: ActorWatch | None = None
) -> Iterator[Callable[[], System]]:
    """Start the actors at their reserved places, and stop them at the end of the block.

    The block gets a function that waits until all actors are up and returns the system. Actors start at the same time,
    but those with a share of a GPU start one after another. The rollout workers start from the base student. Nobody waits for
    those that may join later: Ray starts each when the cluster has room for it.

    Raises `PlacementError` if the cluster is too small, and `DeadlineError` if an actor is not up within
    `cluster.start_timeout_s`.
    """
    left_out = tuple({"learner", "citer"} - set(parts))
    bundles = [bundle for bundle in experiment.bundles() if not bundle.actor.startswith(left_out)]
    reservation = reserve(bundles, experiment.namespace, experiment.cluster.placement_timeout_s)
    start: _Start | None = None
    try:
        start = _Start(experiment, models, reservation, watch, {bundle.actor: bundle for bundle in bundles})
        start.teachers()
        start.rollout_workers()
        if "citer" in parts:
            start.citer()
        start.reward()
        if "learner" in parts:
            start.learner_group()
        yield start.wait
    finally:
        if start is not None:
            start.stop()
        reservation.release()


@dataclass(slots=True)
class _Start:
    """The actors of one system, from their start to their end."""

    experiment: Experiment
    models: BaseModels
    reservation: Reservation
    watch: ActorWatch | None
    reserved: Mapping[str, Bundle]
    """by the actor's name"""
    access: TeacherAccess = field(init=False)
    later: dict[str, Bundle] = field(init=False)
    """rollout workers that may join later. They have no reserved place"""
    in_turn: bool = field(init=False)
    """whether engines and learner have their GPUs in turn"""
    actors: dict[str, ActorHandle[Any]] = field(default_factory=dict)
    """all but the learner's ranks, by name"""
    learner: LearnerGroup | None = None

    def __post_init__(self) -> None:
        self.access = teacher_access(self.experiment, self.models)
        self.later = {bundle.actor: bundle for bundle in self.experiment.later_workers()}
        self.in_turn = self.experiment.colocated and "learner-0" in self.reserved

    def teachers(self) -> None:
        asleep = self.in_turn and self.experiment.cluster.gpus.teacher < 1
        for name in self.access.actors:
            model, engine = self.models.teacher, self.experiment.teacher.engine
            device, seed = self.experiment.cluster.device, self.experiment.seed
            published = self.experiment.publishing(name)
            self._start(name, TeacherActor, self._engine_environment(), model, engine, device, seed, asleep, published)

    def rollout_workers(self) -> None:
        for number in range(self.experiment.rollout.workers):
            name = f"rollout-{number}"
            seed, published = self.experiment.seed + number, self.experiment.publishing(name)
            device = self.experiment.cluster.device
            self._start(
                name,
                RolloutWorker,
                self._engine_environment(),
                *self._both_models(),
                device,
                seed,
                self.in_turn,
                published,
            )

    def citer(self) -> None:
        from actors.citer.actor import CiterActor

        environment = common_environment(self.experiment.cluster.engine_threads)
        device, at_once = self.experiment.cluster.device, self.experiment.citer.max_sequences
        published = self.experiment.publishing("citer")
        self._start("citer", CiterActor, environment, *self._both_models(), device, at_once, published)

    def reward(self) -> None:
        experiment = self.experiment
        grading = experiment.reward, experiment.grading, experiment.publishing("reward")
        self._start("reward", RewardActor, common_environment(threads=1), *grading)

    def learner_group(self) -> None:
        experiment, device = self.experiment, self.experiment.cluster.device
        self.learner = LearnerGroup(
            experiment.learner,
            device,
            experiment.namespace,
            learner_environment(device, experiment.cluster.learner_threads),
            places=[self.reservation.strategy(f"learner-{rank}") for rank in range(experiment.learner.ranks)],
            cpus_per_rank=experiment.cluster.cpus_per_actor,
            gpus_per_rank=experiment.cluster.gpus.learner if device is Device.GPU else 0.0,
            student=self.models.student,
            publishing=experiment.publishing,
        )
        if self.watch is not None:
            for number, rank in enumerate(self.learner.actors):
                self.watch.add(f"learner-{number}", rank, 0, essential=True)

    def wait(self) -> System:
        """Return the system when all actors are up that it begins with."""
        limit_s, rollout = self.experiment.cluster.start_timeout_s, self.experiment.rollout
        present = {name: actor for name, actor in self.actors.items() if name not in self.later}
        calls = {name: _up(name, actor).remote() for name, actor in present.items()}
        watch_start(calls | (self.learner.joining if self.learner is not None else {}), limit_s)
        self._answers(list(calls.values()), "the actors")
        teachers = [self.actors[name] for name in self.access.actors]
        workers = [actor for name, actor in present.items() if name.startswith("rollout-")]
        pool = RolloutPool(
            workers,
            rollout.sequences_in_flight,
            rollout.deadline_s,
            self.experiment.grpo.in_flight,
            ActivityMonitor([*workers, *teachers]),
            later=[self.actors[name] for name in self.later],
        )
        training = None
        if self.learner is not None:
            self.learner.wait(limit_s)
            training = self._training(self.learner, pool, teachers)
        return System(teachers, pool, self.actors["reward"], self.models.student, self.actors.get("citer"), training)

    def stop(self) -> None:
        ranks = self.learner.actors if self.learner is not None else []
        if self.watch is not None:
            self.watch.forget([*self.actors.values(), *ranks])
        if self.learner is not None:
            self.learner.shutdown()
        for actor in self.actors.values():
            ray.kill(actor)

    def _training(self, learner: LearnerGroup, pool: RolloutPool, teachers: Sequence[ActorHandle[Any]]) -> Training:
        experiment = self.experiment
        transport = weight_transport(experiment.cluster.device, learner, pool, experiment.grpo.async_depth > 0)
        if self.in_turn:
            own, found = learner.gpus(), self._answers([teacher.gpus.remote() for teacher in teachers], "the teacher")
            in_the_way = [teacher for teacher, gpus in zip(teachers, found, strict=True) if gpus & own]
            return Training(learner, transport, GpuTurns(learner, pool, in_the_way, experiment.rollout.deadline_s))
        gap = experiment.rollout.probe_gap
        return Training(learner, transport, probe=WeightProbe(learner, pool, gap) if gap is not None else None)

    def _start(self, name: str, actor_class: type, environment: dict[str, str], *arguments: object) -> None:
        bundle = self.later.get(name) or self.reserved[name]
        actor = self.actors[name] = (
            ray.remote(actor_class)
            .options(
                name=name,
                num_cpus=bundle.cpus,
                num_gpus=bundle.gpus,
                scheduling_strategy="SPREAD" if name in self.later else self.reservation.strategy(name),
                max_restarts=self.experiment.cluster.max_restarts,
                max_concurrency=_CONCURRENT_CALLS,
                runtime_env={"env_vars": environment},
            )
            .remote(*arguments)
        )
        self._watch(name, actor)
        if 0 < bundle.gpus < 1:
            # An engine measures the GPU's free memory when it starts. Two at once would count each other's memory.
            ready = actor.ready.remote()
            watch_start({name: ready}, self.experiment.cluster.start_timeout_s)
            self._answers([ready], name)

    def _watch(self, name: str, actor: ActorHandle[Any]) -> None:
        if self.watch is None:
            return
        cluster = self.experiment.cluster
        spare = name.startswith("teacher-")
        essential = not spare and not name.startswith("rollout-")
        # An engine that shares its GPU in turn may start within a call, and answers nobody meanwhile.
        asked = name == "reward" or not self.in_turn
        heartbeat = Heartbeat(_up(name, actor).remote, cluster.hang_timeout_s) if asked else None
        self.watch.add(name, actor, cluster.max_restarts, essential, spare, heartbeat)

    def _answers(self, calls: Sequence[ray.ObjectRef[Any]], what: str) -> list[Any]:
        limit_s = self.experiment.cluster.start_timeout_s
        answers: list[Any] = results(calls, f"the start of {what}", limit_s, START_TIMEOUT)
        return answers

    def _engine_environment(self) -> dict[str, str]:
        return engine_environment(self.experiment.cluster.device, self.experiment.cluster.engine_threads)

    def _both_models(self) -> tuple[object, ...]:
        """Return what an actor with a student is told of the models, in the order that its class takes it in."""
        student, teacher = self.experiment.rollout.engine, self.experiment.teacher.engine
        return self.models.student, student, self.access, self.models.teacher, teacher


def _up(name: str, actor: ActorHandle[Any]) -> Any:
    """Return the method that answers when the actor is up."""
    return actor.health if name == "reward" else actor.ready


def teacher_access(experiment: Experiment, models: BaseModels) -> TeacherAccess:
    """Return how the actors of the run reach their teacher."""
    cache, engine = experiment.teacher.cache, experiment.teacher.engine
    described = json.dumps([teacher_model(experiment.models.teacher), None if models.served else engine.dtype])
    return TeacherAccess(
        actors=experiment.teachers,
        served=models.served,
        recording=None if cache is None else Recording(cache.absolute(), described),
        patience=Patience(timeout_s=experiment.rollout.deadline_s),
    )
