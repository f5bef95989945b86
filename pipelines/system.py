"""The actors of a run, started together and stopped together."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.util.placement_group import PlacementGroup, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.citer.actor import CiterActor
from actors.learner.group import LearnerGroup
from actors.reward import RewardActor
from actors.rollout import RolloutWorker
from actors.teacher import TeacherActor
from cluster.devices import Device, common_environment, engine_environment, learner_environment
from cluster.placement import Bundle, reserve
from pipelines.experiment import Experiment
from pipelines.rollout_pool import RolloutPool
from pipelines.stages.base_models import BaseModels

logger = logging.getLogger(__name__)

_CONCURRENT_CALLS = 10_000


@dataclass(frozen=True, slots=True)
class System:
    """Handles of everything that runs."""

    teacher: ActorHandle[Any]
    rollout: RolloutPool
    reward: ActorHandle[Any]
    learner: LearnerGroup
    citer: ActorHandle[Any] | None
    """None unless the experiment asks for the baseline"""

    def sync_weights(self) -> None:
        """Give the learner's weights to all rollout workers, as the next policy version.

        Version 0 is what a worker starts with, so one that has restarted since is always told from the others.
        """
        self.rollout.load_weights(self.learner.weights(), self.rollout.version + 1)


@contextmanager
def running_system(experiment: Experiment, models: BaseModels, student: str) -> Iterator[System]:
    """Start all actors side by side in one placement group, those on a shared GPU in turn, and end them with the block.

    `student` is the folder whose weights the rollout workers start from. Raises `PlacementError` if the cluster is too
    small, and ray's `GetTimeoutError` if an actor is not up within `cluster.start_timeout_s`.
    """
    bundles = experiment.bundles()
    group = reserve(bundles, experiment.namespace, experiment.cluster.placement_timeout_s)
    actors: list[ActorHandle[Any]] = []
    learner: LearnerGroup | None = None
    try:
        places = {bundle.actor: _options(bundle, group, index) for index, bundle in enumerate(bundles)}
        device = experiment.cluster.device

        def start(name: str, actor_class: type, environment: dict[str, str], *arguments: object) -> ActorHandle[Any]:
            options = places[name] | {"name": name, "max_restarts": -1, "max_concurrency": _CONCURRENT_CALLS}
            actor = ray.remote(actor_class).options(**options, runtime_env={"env_vars": environment}).remote(*arguments)
            actors.append(actor)
            if 0 < places[name]["num_gpus"] < 1:
                # Engines measure a GPU's free memory when they start: two at once would count each other's as their own.
                ray.get(actor.ready.remote(), timeout=experiment.cluster.start_timeout_s)
            return actor

        def engine_env(kv_cache_gib: int) -> dict[str, str]:
            return engine_environment(device, experiment.cluster.engine_threads, kv_cache_gib)

        teacher_engine, student_engine = experiment.teacher.engine, experiment.rollout.engine
        teacher = start(
            "teacher",
            TeacherActor,
            engine_env(teacher_engine.kv_cache_gib),
            models.teacher,
            teacher_engine,
            device,
            experiment.seed,
        )
        workers = [
            start(
                f"rollout-{i}",
                RolloutWorker,
                engine_env(student_engine.kv_cache_gib),
                student,
                student_engine,
                "teacher",
                models.teacher,
                teacher_engine,
                device,
                experiment.seed + i,
            )
            for i in range(experiment.rollout.workers)
        ]
        citer = None
        if experiment.citer.enabled:
            citer = start(
                "citer",
                CiterActor,
                common_environment(experiment.cluster.engine_threads),
                models.student,
                student_engine,
                "teacher",
                models.teacher,
                teacher_engine,
                device,
                experiment.citer.max_sequences,
            )
        reward = start("reward", RewardActor, common_environment(threads=1), experiment.reward, experiment.grading)
        learner = LearnerGroup(  # returns when its ranks are connected; the engines come up meanwhile
            experiment.learner,
            device,
            experiment.namespace,
            learner_environment(device, experiment.cluster.learner_threads),
            placement=group,
            bundles=[i for i, bundle in enumerate(bundles) if bundle.actor.startswith("learner-")],
            cpus_per_rank=experiment.cluster.cpus_per_actor,
            gpus_per_rank=experiment.cluster.gpus.learner if device is Device.GPU else 0.0,
            seconds=experiment.cluster.start_timeout_s,
        )
        engines = [teacher, *workers, *([citer] if citer is not None else [])]
        ray.get([actor.ready.remote() for actor in engines], timeout=experiment.cluster.start_timeout_s)
        ray.get(reward.health.remote(), timeout=experiment.cluster.start_timeout_s)
        pool = RolloutPool(workers, experiment.rollout.sequences_in_flight, experiment.rollout.deadline_s)
        yield System(teacher, pool, reward, learner, citer)
    finally:
        if learner is not None:
            learner.shutdown()
        for actor in actors:
            ray.kill(actor)
        remove_placement_group(group)


def _options(bundle: Bundle, group: PlacementGroup, index: int) -> dict[str, Any]:
    return {
        "num_cpus": bundle.cpus,
        "num_gpus": bundle.gpus,
        "scheduling_strategy": PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index),
    }
