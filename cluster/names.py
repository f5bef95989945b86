"""The names of runs and actors on a cluster. A second run of a name is refused with a message about the first."""

from __future__ import annotations

import time
from typing import Any

from cluster.errors import ClusterError

_SECONDS_TO_GO = 30.0
"""how long the actors of an ended driver may take to disappear"""


class NameTakenError(ClusterError):
    """The cluster already has a run of this name."""


def title_of_actor(otherwise: str) -> str:
    """Return the name of the actor that calls this, with its namespace; `otherwise` outside of named actors."""
    import ray

    if not ray.is_initialized():
        return otherwise
    context = ray.get_runtime_context()
    name = context.get_actor_name() if context.get_actor_id() else None
    return f"{name} of {context.namespace}" if name else otherwise


def require_free(namespace: str, name: str, seconds: float = _SECONDS_TO_GO) -> None:
    """Return when no actor of a run called `name` is left on the cluster.

    Raises `NameTakenError` if that run's driver is alive, or if its actors are still there after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while taken := _actors_of(namespace):
        driver = _driver_of(*taken[0])
        if (driver is not None and not driver.get("IsDead")) or time.monotonic() > deadline:
            raise NameTakenError(_message(name, [actor for actor, _ in taken], driver))
        time.sleep(0.5)


def _actors_of(namespace: str) -> list[tuple[str, str]]:
    """Return name and namespace of a run's actors, including those that pretrain its models."""
    import ray

    listed = ray.util.list_named_actors(all_namespaces=True)
    own = [(entry["name"], entry["namespace"]) for entry in listed]
    return sorted(found for found in own if found[1] == namespace or found[1].startswith(f"{namespace}-pretrain-"))


def _driver_of(actor: str, namespace: str) -> dict[str, Any] | None:
    import ray
    import ray._private.state

    try:
        job = ray.get_actor(actor, namespace)._actor_id.job_id.hex()
    except ValueError:  # the actor has ended since it was listed
        return {"IsDead": True}
    return next((found for found in ray._private.state.jobs() if found["JobID"] == job), None)


def _message(name: str, actors: list[str], driver: dict[str, Any] | None) -> str:
    who, stop = "its driver is not known to Ray", "end its driver"
    if driver is not None:
        pid, host = driver.get("DriverPid"), driver.get("DriverIPAddress")
        started = time.strftime("%Y-%m-%d %H:%M", time.localtime(driver.get("StartTime", 0) / 1000))
        what = f" ({driver['Entrypoint']})" if driver.get("Entrypoint") else ""
        who = f"its driver is process {pid} on {host}, job {driver['JobID']}, since {started}{what}"
        stop = f"`kill {pid}` there, or `ray job stop` if it was submitted"
    return (
        f"a run called {name} is on this cluster already, with the actors {', '.join(actors)}: {who}. Wait for its end, "
        f"stop it ({stop}), or give this run another name: name=<other>"
    )
