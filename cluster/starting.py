"""Says from time to time what is not up yet, while a run waits for Ray and its actors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from cluster.deadlines import START_TIMEOUT
from cluster.errors import DeadlineError

if TYPE_CHECKING:
    import ray

logger = logging.getLogger(__name__)

TELL_EVERY_S = 30.0


@contextmanager
def told_while(what: str, every_s: float = TELL_EVERY_S, tell: Callable[[str], None] = logger.info) -> Iterator[None]:
    """Give `tell` a line every `every_s` seconds of the block, with the seconds since it began and `what` goes on."""
    over, began = Event(), monotonic()

    def remind() -> None:
        while not over.wait(every_s):
            tell(f"after {monotonic() - began:.0f} s {what}")

    reminder = Thread(target=remind, name="told-while", daemon=True)
    reminder.start()
    try:
        yield
    finally:
        over.set()
        reminder.join()


def watch_start(
    calls: Mapping[str, ray.ObjectRef[Any]],
    seconds: float,
    every_s: float = TELL_EVERY_S,
    tell: Callable[[str], None] = logger.info,
) -> None:
    """Return when all calls have ended, or as soon as one has failed.

    `calls` are first calls to actors, by the names of the actors. Every `every_s` seconds `tell` gets a line with the names
    of those that have not answered. What an actor raised is left to whoever gets the call. Raises `DeadlineError` after
    `seconds`, which is the value of `cluster.start_timeout_s`.
    """
    import ray

    name_of = {call: name for name, call in calls.items()}
    pending, began = list(name_of), monotonic()
    next_line = began + every_s
    while pending:
        left = min(began + seconds, next_line) - monotonic()
        ended, pending = ray.wait(pending, timeout=max(left, 0.0))
        if any(map(_failed, ended)):
            return
        late, now = ", ".join(name_of[call] for call in pending), monotonic()
        if pending and now >= began + seconds:
            raise DeadlineError(
                f"the start of {late} took more than {seconds:g} s: raise {START_TIMEOUT}, or look into the actors' logs"
            )
        if pending and now >= next_line:
            tell(f"after {now - began:.0f} s not up yet: {late}")
            next_line = now + every_s


def _failed(call: ray.ObjectRef[Any]) -> bool:
    import ray

    try:
        ray.get(call)
    except Exception:  # raised again for whoever gets the call
        return True
    return False
