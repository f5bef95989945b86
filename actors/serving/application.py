"""The Serve application of a relay server: an ingress, student replicas, teacher replicas, and the board of the newest weights."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from actors.serving.guards.keys import with_digests
from actors.serving.remote_teacher import remote_teacher
from actors.serving.settings import ServedModelSettings, ServerSettings
from actors.serving.transport import REPLICA_ENVIRONMENT
from cluster.devices import Device, common_environment, engine_environment

if TYPE_CHECKING:
    from ray.serve import Application

MOST_REQUESTS = 10_000
"""in flight at one replica; the engines queue what they cannot batch"""
_ROUTER = "actors.serving.routing.PrefixRouter"
_HEALTH_S = 5.0


def application(settings: ServerSettings) -> Application:
    """Return the application, to be run by Serve. Each deployment scales, and restarts, on its own.

    Serve's HTTP proxy is not covered by Ray's token, so `guards` decide who may ask. Raises `ApiKeyError` if a key
    cannot be used, and `UnsuitableServerError` if the server of a teacher behind a url cannot be one.
    """
    from ray import serve
    from ray.serve.config import RequestRouterConfig

    from actors.serving.ingress import IngressReplica
    from actors.serving.replicas import StudentReplica, TeacherReplica
    from actors.serving.weights_board import WeightsBoard

    settings = settings.model_copy(update={"guards": with_digests(settings.guards)})
    common: dict[str, Any] = {
        "max_ongoing_requests": MOST_REQUESTS,
        "health_check_period_s": _HEALTH_S,
        "health_check_timeout_s": 6 * _HEALTH_S,
        "graceful_shutdown_timeout_s": settings.deadline_s,
    }
    quiet = {"logging_config": {"enable_access_log": False}}  # otherwise each call of the teacher is a line

    def engine(kind: type, name: str, model: ServedModelSettings) -> Any:
        gpus = model.engine.tensor_parallel if settings.device is Device.GPU else 0
        environment = engine_environment(settings.device, settings.engine_threads)
        return serve.deployment(kind).options(
            name=name,
            num_replicas=model.replicas,
            request_router_config=RequestRouterConfig(request_router_class=_ROUTER),
            ray_actor_options=_actor(settings.cpus_per_replica, gpus, environment),
            **common,
            **quiet,
        )

    light = _actor(0, 0, common_environment(threads=1))
    board = serve.deployment(WeightsBoard).options(
        name="weights", num_replicas=1, ray_actor_options=light, **common, **quiet
    )
    newest = board.bind(settings.student.path, settings.start_timeout_s)
    teacher = remote = None
    if settings.teacher is not None and (local := settings.teacher.local) is not None:
        teacher = engine(TeacherReplica, "teacher", local).bind(settings)
    elif settings.teacher is not None:
        remote = remote_teacher(settings)
    student = engine(StudentReplica, "student", settings.student).bind(settings, teacher, remote, newest)
    ingress = serve.deployment(serve.ingress()(IngressReplica)).options(
        name="ingress", num_replicas=settings.ingress_replicas, ray_actor_options=light, **common
    )
    bound: Application = ingress.bind(settings, student, teacher, remote, newest)
    return bound


def _actor(cpus: float, gpus: float, environment: dict[str, str]) -> dict[str, Any]:
    # A deployment's own environment replaces the driver's, so the import path is given again.
    path = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH", "")]))
    return {
        "num_cpus": cpus,
        "num_gpus": gpus,
        "runtime_env": {"env_vars": environment | REPLICA_ENVIRONMENT | {"PYTHONPATH": path}},
    }
