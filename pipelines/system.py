"""The actors of a run, started together and stopped together."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import ray
from ray.actor import ActorHandle

from actors.engines.endpoint import Patience
from actors.engines.teachers import Recording, TeacherAccess
from actors.learner.group import LearnerGroup
from actors.reward import RewardActor
from actors.rollout import RolloutWorker
from actors.teacher import TeacherActor
from actors.weight_files import read_weights
from cluster.deadlines import START_TIMEOUT, results
from cluster.devices import Device, common_environment, engine_environment, learner_environment
from cluster.gpu_turns import GpuTurns
from cluster.heartbeat import Heartbeat
from cluster.metrics.publisher import Reading
from cluster.reservation import reserve
from cluster.starting import watch_start
from cluster.supervision import ActorWatch
from cluster.weight_transport import WeightTransport, weight_transport
from pipelines.experiment.schema import Experiment
from pipelines.experiment.stage_keys import teacher_model
from pipelines.models.base_models import BaseModels
from pipelines.rollout.activity import ActivityMonitor
from pipelines.rollout.pool import RolloutPool
from pipelines.rollout.pool_readings import pool_readings
from pipelines.rollout.weight_probe import WeightProbe

logger = logging.getLogger(__name__)

_CONCURRENT_CALLS = 10_000

Part = Literal["learner", "citer"]
"""actors that only some runs need"""
PhaseTimer = Callable[[str], AbstractContextManager[None]]
"""makes a context manager that times the part of a step with the given name"""


def _untimed(name: str) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(slots=True)
class System:
    """Handles of all actors, and the student whose weights the rollout workers hold."""

    teachers: Sequence[ActorHandle[Any]]
    """all with the same model; none if a server has the teacher"""
    rollout: RolloutPool
    reward: ActorHandle[Any]
    learners: LearnerGroup | None
    """None if nothing is left to train"""
    citer: ActorHandle[Any] | None
    """None if nothing of the CITER baseline is left to do"""
    transport: WeightTransport | None
    """from the learner to the rollout workers; None without a learner"""
    student: str | None
    """the folder of the weights that the rollout workers hold; None if they are the learner's"""
    turns: GpuTurns | None = None
    """switches the GPUs between engines and learner; None if they do not share GPUs"""
    probe: WeightProbe | None = None
    """compares the engines with the learner after each sync; None without it"""

    @property
    def learner(self) -> LearnerGroup:
        assert self.learners is not None, "the learner was not started: nothing was left to train"
        return self.learners

    @contextmanager
    def learning(self, phase: PhaseTimer = _untimed) -> Iterator[None]:
        """Run a block in which the learner loads weights and trains.

        With `cluster.colocate` the engines sleep during the block. `sync_weights` wakes them with the learner's weights. If
        the block does not call it, its end does. `phase` times how long the engines take to fall asleep.
        """
        if self.turns is not None:
            with phase("sleep"):
                self.turns.to_learner()
        yield
        if self.turns is not None and self.turns.engines_sleep:
            self.sync_weights()

    def sync_weights(self) -> None:
        """Give the learner's weights to all rollout workers as the next policy version. Wakes engines that sleep.

        With a `probe`, engines that do not compute what the learner does get the weights again, and are restarted if that does not
        help.
        """
        if self.turns is not None and self.turns.engines_sleep:
            self.turns.to_engines(self._sync_weights)
        else:
            self._sync_weights()

    def _sync_weights(self) -> None:
        # A worker starts with version 0, so the version always tells a restarted worker from the others.
        assert self.transport is not None, "the learner was not started: nothing was left to train"
        self.transport.sync(self.rollout.version + 1)
        self.student = None
        if self.probe is not None:
            self.probe.settle(partial(self.transport.sync, self.rollout.version))

    def use_student(self, folder: str) -> None:
        """Give the weights in `folder` to all rollout workers, unless they already hold them."""
        if self.student != folder:
            self.rollout.load_weights(ray.put(read_weights(Path(folder))), self.rollout.version + 1)
            self.student = folder


class SystemOnDemand:
    """Starts the actors when a stage first needs them, or earlier. Its end as a context manager stops them."""

    def __init__(self, watch: ActorWatch | None = None) -> None:
        """`watch` supervises all actors while they run."""
        self._watch = watch
        self._teacher: tuple[object, ...] | None = None
        self._starting: Callable[[], System] | None = None
        self._system: System | None = None
        self._ends = ExitStack()

    def begin(self, experiment: Experiment, models: BaseModels, parts: Collection[Part]) -> None:
        """Start a system with these optional parts in the background, unless there is one with this teacher."""
        teacher = models.teacher, models.served
        if self._teacher != teacher:
            self.close()
            self._starting = self._ends.enter_context(starting_system(experiment, models, parts, self._watch))
            self._teacher = teacher

    def get(self, experiment: Experiment, models: BaseModels, parts: Collection[Part]) -> System:
        """Return the running system. Starts one with these optional parts if there is none with this teacher."""
        self.begin(experiment, models, parts)
        if self._system is None:
            assert self._starting is not None
            self._system = self._starting()
        return self._system

    def readings(self) -> Iterator[Reading]:
        """Yield what the driver's metrics show of its actors now: nothing while there are none."""
        if (system := self._system) is not None:
            yield from pool_readings(system.rollout)

    def close(self) -> None:
        """Stop the actors."""
        self._teacher = self._starting = self._system = None
        self._ends.close()

    def __enter__(self) -> SystemOnDemand:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


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
    actors: list[ActorHandle[Any]] = []
    learner: LearnerGroup | None = None
    try:
        options_of = {
            bundle.actor: {
                "num_cpus": bundle.cpus,
                "num_gpus": bundle.gpus,
                "scheduling_strategy": reservation.strategy(bundle.actor),
            }
            for bundle in bundles
        } | {
            bundle.actor: {"num_cpus": bundle.cpus, "num_gpus": bundle.gpus, "scheduling_strategy": "SPREAD"}
            for bundle in experiment.joining()
        }
        device, shares = experiment.cluster.device, experiment.cluster.gpus
        restarts = experiment.cluster.max_restarts
        in_turn = experiment.colocated and "learner" in parts
        joining = {bundle.actor for bundle in experiment.joining()}

        def up(calls: Sequence[ray.ObjectRef[Any]], what: str) -> list[Any]:
            found: list[Any] = results(calls, f"the start of {what}", experiment.cluster.start_timeout_s, START_TIMEOUT)
            return found

        def watched(name: str, actor: ActorHandle[Any]) -> None:
            if watch is None:
                return
            spare = name.startswith("teacher-")
            essential = not spare and not name.startswith("rollout-")
            without_engine = name == "reward"
            ask = actor.health if without_engine else actor.ready
            # An engine that shares its GPU in turn may start within a call, and answers nobody meanwhile.
            asked = without_engine or not in_turn
            heartbeat = Heartbeat(ask.remote, experiment.cluster.hang_timeout_s) if asked else None
            watch.add(name, actor, restarts, essential, spare, heartbeat)

        def start(name: str, actor_class: type, environment: dict[str, str], *arguments: object) -> ActorHandle[Any]:
            options = options_of[name] | {"name": name, "max_restarts": restarts, "max_concurrency": _CONCURRENT_CALLS}
            actor = ray.remote(actor_class).options(**options, runtime_env={"env_vars": environment}).remote(*arguments)
            actors.append(actor)
            if name not in joining:
                watched(name, actor)
            if 0 < options["num_gpus"] < 1:
                # An engine measures the GPU's free memory when it starts. Two at once would count each other's memory.
                ready = actor.ready.remote()
                watch_start({name: ready}, experiment.cluster.start_timeout_s)
                up([ready], name)
            return actor

        engine_env = engine_environment(device, experiment.cluster.engine_threads)
        teacher_engine, student_engine = experiment.teacher.engine, experiment.rollout.engine
        access = teacher_access(experiment, models)
        teachers = [
            start(
                name,
                TeacherActor,
                engine_env,
                models.teacher,
                teacher_engine,
                device,
                experiment.seed,
                in_turn and shares.teacher < 1,
                experiment.publishing(name),
            )
            for name in access.actors
        ]
        workers = {
            f"rollout-{i}": start(
                f"rollout-{i}",
                RolloutWorker,
                engine_env,
                models.student,
                student_engine,
                access,
                models.teacher,
                teacher_engine,
                device,
                experiment.seed + i,
                in_turn,
                experiment.publishing(f"rollout-{i}"),
            )
            for i in range(experiment.rollout.workers)
        }
        citer = None
        if "citer" in parts:
            from actors.citer.actor import CiterActor

            citer = start(
                "citer",
                CiterActor,
                common_environment(experiment.cluster.engine_threads),
                models.student,
                student_engine,
                access,
                models.teacher,
                teacher_engine,
                device,
                experiment.citer.max_sequences,
                experiment.publishing("citer"),
            )
        grading = experiment.reward, experiment.grading, experiment.publishing("reward")
        reward = start("reward", RewardActor, common_environment(threads=1), *grading)
        if "learner" in parts:
            learner = LearnerGroup(
                experiment.learner,
                device,
                experiment.namespace,
                learner_environment(device, experiment.cluster.learner_threads),
                places=[reservation.strategy(f"learner-{rank}") for rank in range(experiment.learner.ranks)],
                cpus_per_rank=experiment.cluster.cpus_per_actor,
                gpus_per_rank=shares.learner if device is Device.GPU else 0.0,
                student=models.student,
                publishing=experiment.publishing,
            )
            if watch is not None:
                for number, rank in enumerate(learner.actors):
                    watch.add(f"learner-{number}", rank, 0, essential=True)

        def wait() -> System:
            engines = dict(zip(access.actors, teachers, strict=True))
            present = {name: worker for name, worker in workers.items() if name not in joining}
            engines |= present
            if citer is not None:
                engines["citer"] = citer
            calls = {name: actor.ready.remote() for name, actor in engines.items()} | {"reward": reward.health.remote()}
            watch_start(calls | (learner.joining if learner is not None else {}), experiment.cluster.start_timeout_s)
            up(list(calls.values()), "the actors")
            rollout, transport, turns = experiment.rollout, None, None
            pool = RolloutPool(
                list(present.values()),
                rollout.sequences_in_flight,
                rollout.deadline_s,
                experiment.grpo.in_flight,
                ActivityMonitor([*present.values(), *teachers]),
                joining=[workers[name] for name in workers if name in joining],
                joined=watched,
            )
            if learner is not None:
                learner.wait(experiment.cluster.start_timeout_s)
                transport = weight_transport(device, learner, pool, experiment.grpo.async_depth > 0)
                if in_turn:
                    own, found = learner.gpus(), up([teacher.gpus.remote() for teacher in teachers], "the teacher")
                    in_the_way = [teacher for teacher, gpus in zip(teachers, found, strict=True) if gpus & own]
                    turns = GpuTurns(learner, pool, in_the_way, rollout.deadline_s)
            probe = None
            if learner is not None and turns is None and rollout.probe_gap is not None:
                probe = WeightProbe(learner, pool, rollout.probe_gap)
            return System(teachers, pool, reward, learner, citer, transport, models.student, turns, probe)

        yield wait
    finally:
        if watch is not None:
            watch.forget([*actors, *(learner.actors if learner is not None else [])])
        if learner is not None:
            learner.shutdown()
        for actor in actors:
            ray.kill(actor)
        reservation.release()


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
