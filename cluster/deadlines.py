"""Waits for actors, but no longer than a key of the experiment allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cluster.errors import DeadlineError

if TYPE_CHECKING:
    import ray

ROLLOUT_DEADLINE = "rollout.deadline_s"
START_TIMEOUT = "cluster.start_timeout_s"


def results(calls: ray.ObjectRef[Any] | Sequence[ray.ObjectRef[Any]], what: str, seconds: float, key: str) -> Any:
    """Return the result of one actor call, or the list of results of several calls.

    `what` names the calls in the message. Raises `DeadlineError` after `seconds`, which is the value of `key`.
    """
    import ray

    try:
        return ray.get(calls, timeout=seconds)
    except ray.exceptions.GetTimeoutError as error:
        raise DeadlineError(
            f"{what} took more than {seconds:g} s: raise {key}, or look into the actors' logs"
        ) from error
