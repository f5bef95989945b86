"""Waits for actors, but no longer than a key of the experiment allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cluster.errors import DeadlineError

if TYPE_CHECKING:
    import ray

ROLLOUT_DEADLINE = "rollout.deadline_s"
START_TIMEOUT = "cluster.start_timeout_s"


def results(
    calls: ray.ObjectRef[Any] | Sequence[ray.ObjectRef[Any]],
    what: str,
    seconds: float,
    key: str,
    *,
    names: Sequence[str] = (),
    left_s: float | None = None,
) -> Any:
    """Return the result of one actor call, or the list of results of several calls.

    `what` names the calls in the message, and `names` the actor of each of several calls. Raises `DeadlineError` after
    `seconds`, which is the value of `key`; or after `left_s`, if earlier calls have used up a part of `seconds`.
    """
    import ray

    try:
        return ray.get(calls, timeout=seconds if left_s is None else left_s)
    except ray.exceptions.GetTimeoutError as error:
        late = ""
        if names and isinstance(calls, Sequence):
            done, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
            late = ", ".join(name for name, call in zip(names, calls, strict=True) if call not in done)
        waiting, logs = (f", and waited for {late}", "that actor's log") if late else ("", "the actors' logs")
        raise DeadlineError(
            f"{what} took more than {seconds:g} s{waiting}: raise {key}, or look into {logs}"
        ) from error
