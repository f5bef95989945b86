"""Watches a run's actors. It logs restarts, restarts actors that hang, and ends the run when one is lost for good."""

from __future__ import annotations

import logging
import math
import re
import signal
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from cluster.errors import ClusterError
from cluster.heartbeat import Heartbeat
from cluster.stacks import State, state_of, where_they_stand

logger = logging.getLogger(__name__)

_POLL_S = 5.0
_LOOK_AGAIN_S = 5.0
"""how long Ray may take to report that an actor is dead after a call to it has failed"""
_WAKE = signal.SIGUSR1
_OOM_COUNTERS = ("/sys/fs/cgroup/memory.events", "/proc/vmstat")


class ActorLostError(ClusterError):
    """Actors have died more often than Ray may restart them, or did not come back in time.

    `roles` are those that the run cannot go on without ("teacher", "learner", …); of all lost actors, if it could without any.
    """

    def __init__(self, message: str, roles: Collection[str]) -> None:
        super().__init__(message)
        self.roles = frozenset(roles)


@dataclass(slots=True)
class _Watched:
    name: str
    role: str
    budget: int
    essential: bool
    spare: bool
    handle: Any
    heartbeat: Heartbeat | None
    restarts: int = 0
    ended: str | None = None
    """why the watch ended it, until Ray has restarted it"""
    given_up: bool = False
    """whether the watch ended it for good, because it was away for too long"""
    away_since: float | None = None
    """when the watch first saw that Ray restarts it, until it is back"""
    lost: str | None = None
    """the reason, once the actor is dead for good; None before"""


class ActorWatch:
    """Watches actors in a thread during a `with` block, which must be in the main thread.

    If an exception leaves the block because an actor is lost, it becomes an `ActorLostError` with the reason. The loss of an
    essential actor also interrupts the block, because it may be that no call waits for that actor.
    """

    def __init__(
        self,
        remedy: Callable[[str], str],
        read: Callable[[str], State] | None = None,
        end: Callable[[Any, bool], None] | None = None,
        stacks: Callable[[Sequence[str]], str] = where_they_stand,
        start_timeout_s: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`remedy` returns, for a role ("teacher", "rollout", …), which settings to change if its memory ran out.

        `start_timeout_s` is the value of cluster.start_timeout_s: how long a restart may take.
        """
        self._remedy, self._read, self._end = remedy, read or state_of, end or _end_process
        self._stacks, self._start_timeout_s, self._clock = stacks, start_timeout_s, clock
        self._actors: dict[str, _Watched] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._waking = threading.Lock()
        self._woke_main = False
        self._oom_kills = _oom_kills()
        self._thread = threading.Thread(target=self._poll, name="actor-watch", daemon=True)
        self._before: Any = None

    def add(
        self,
        name: str,
        actor: Any,
        budget: int,
        essential: bool,
        spare: bool = False,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        """Watch an actor that Ray restarts up to `budget` times. The run cannot go on without an `essential` actor.

        Of the actors of a role that are `spare`, one is enough. An actor whose `heartbeat` has stopped is ended, which counts
        as a death.
        """
        role = re.sub(r"-\d+$", "", name)
        with self._lock:
            self._actors[actor._actor_id.hex()] = _Watched(name, role, budget, essential, spare, actor, heartbeat)

    def forget(self, actors: Collection[Any]) -> None:
        """Stop watching these actors, because the run ends them itself."""
        with self._lock:
            for actor in actors:
                self._actors.pop(actor._actor_id.hex(), None)

    def look(self) -> bool:
        """Read the state of all actors; return whether the run cannot go on without those that are lost."""
        with self._lock:
            for actor_id, actor in self._actors.items():
                if actor.lost is None:
                    state = self._read(actor_id)
                    self._see(actor, state)
                    self._listen(actor, state)
                    self._wait_for_return(actor, state)
            actors = list(self._actors.values())
            needed = {actor.role for actor in actors if actor.spare}
            left = {actor.role for actor in actors if actor.spare and actor.lost is None}
            return any(actor.lost and actor.essential for actor in actors) or needed != left

    def loss(self) -> ActorLostError | None:
        """Return an error with a line for each lost actor, with the reason and what to do; None if none is lost."""
        with self._lock:
            lost = [actor for actor in self._actors.values() if actor.lost is not None]
            left = {actor.role for actor in self._actors.values() if actor.spare and actor.lost is None}
        if not lost:
            return None
        lines = []
        for actor in lost:
            count = actor.restarts + (not actor.given_up)
            deaths = "once" if count == 1 else f"{count} times"
            if actor.budget == 0:
                budget = "Ray does not restart it"
            elif actor.given_up:
                budget = "the run does not wait for it any longer"
            else:
                budget = f"cluster.max_restarts ({actor.budget}) allows no more restarts"
            remedy = self._remedy(actor.role) if ran_out_of_memory(actor.lost or "") is not False else ""
            lines.append(f"{actor.name} is lost: it died {deaths}, and {budget}. Last: {actor.lost}. {remedy}".strip())
        needed = [actor for actor in lost if actor.essential or (actor.spare and actor.role not in left)]
        return ActorLostError("\n".join(lines), {actor.role for actor in needed or lost})

    def _see(self, actor: _Watched, state: State) -> None:
        restarts = int(state.get("NumRestarts", 0))
        if restarts > actor.restarts:
            actor.restarts = restarts
            why = actor.ended or self._cause(state)
            actor.ended = None
            logger.warning("%s died and is restarted, %d of %d times: %s", actor.name, restarts, actor.budget, why)
        never_up = restarts == 0 and "creation_task_failure" in str(
            state.get("DeathCause")
        )  # the error of its start says enough
        if state.get("State") == "DEAD" and not never_up:
            actor.lost = (
                f"{actor.ended or self._cause(state)} (Ray's logs of process {state.get('Pid')} have its last output)"
            )
            if not actor.essential:
                logger.warning("%s is lost; others of its role may go on without it: %s", actor.name, actor.lost)

    def _listen(self, actor: _Watched, state: State) -> None:
        if actor.heartbeat is not None and actor.ended is None and actor.heartbeat.has_stopped(state):
            actor.ended = f"it did not answer for {actor.heartbeat.limit_s:g} s"
            logger.warning(
                "%s does not answer, and is ended so that Ray restarts it: %s%s",
                actor.name,
                actor.ended,
                self._stacks([actor.handle._actor_id.hex()]),
            )
            self._end(actor.handle, True)

    def _wait_for_return(self, actor: _Watched, state: State) -> None:
        if state.get("State") != "RESTARTING":
            actor.away_since = None
        elif actor.away_since is None:
            actor.away_since = self._clock()
        elif self._clock() - actor.away_since > self._start_timeout_s and actor.ended is None:
            actor.ended = (
                f"it was not back after {self._start_timeout_s:g} s (cluster.start_timeout_s): if a node is gone, the others may "
                "have no room for it (`ray status` shows what is free)"
            )
            actor.given_up = True
            self._end(actor.handle, False)

    def _cause(self, state: State) -> str:
        said = cause_of_death(str(state.get("DeathCause") or ""))
        kills = _oom_kills()
        killed, self._oom_kills = kills > self._oom_kills, kills
        if killed and ran_out_of_memory(said) is not True:
            return "the kernel killed a process of this machine because memory ran out"
        return said

    def _poll(self) -> None:
        while not self._stop.wait(_POLL_S):
            try:
                if self.look():
                    self._wake_main()
                    return
            except Exception:
                if self._stop.is_set():
                    return
                logger.exception("the actors' states could not be read; the watch tries again")

    def _wake_main(self) -> None:
        identity = threading.main_thread().ident
        assert identity is not None
        with self._waking:
            if not self._stop.is_set():  # else `_wake` is no longer the handler, and the signal would end the process
                self._woke_main = True
                signal.pthread_kill(identity, _WAKE)

    def _wake(self, number: int, frame: FrameType | None) -> None:
        if self._woke_main and not self._stop.is_set():
            raise KeyboardInterrupt  # Ray does not catch it, and `__exit__` replaces it by an ActorLostError

    def __enter__(self) -> ActorWatch:
        self._before = signal.signal(_WAKE, self._wake)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._waking:
            self._stop.set()
        signal.signal(_WAKE, signal.SIG_IGN if self._before is None else self._before)
        if (
            isinstance(error, Exception)
            and not isinstance(error, ClusterError)
            and _by_an_actor(error)
            and (loss := self._found_loss())
        ):
            raise loss from error
        if isinstance(error, KeyboardInterrupt) and self._woke_main and (loss := self.loss()) is not None:
            raise loss from None

    def _found_loss(self) -> ActorLostError | None:
        """Look until an actor is seen to be lost, or for some seconds. Return its loss, if there is one."""
        deadline = time.monotonic() + _LOOK_AGAIN_S
        while True:
            try:
                self.look()
            except Exception:
                logger.exception("the actors' states could not be read")
            loss = self.loss()
            if loss is not None or time.monotonic() > deadline:
                return loss
            time.sleep(0.5)


def cause_of_death(said: str) -> str:
    """Return the cause of an actor's death as one short text, from Ray's description `said`."""
    if not said:
        return "Ray gives no reason"
    match = re.search(r'error_message: "((?:[^"\\]|\\.)*)"', said)
    text = " ".join((match[1] if match else said).replace("\\n", " ").split())
    memory = ran_out_of_memory(text)
    if memory:
        return f"memory ran out, and Ray's memory monitor killed it ({text[:300]})"
    if memory is None:
        return "it was killed or crashed; the kernel's memory killer does so when memory runs out (`dmesg` names it)"
    return text[:500]


def ran_out_of_memory(cause: str) -> bool | None:
    """Return whether an actor died because memory ran out; None if that is possible but not certain, as with an unexplained kill."""
    text = cause.lower()
    if "low on memory" in text or "memory ran out" in text or "oom_context" in text:
        return True
    if (
        "connection error code 2" in text
        or "oom killer" in text
        or "memory killer" in text
        or "gives no reason" in text
    ):
        return None
    return False


def _by_an_actor(error: BaseException) -> bool:
    """Return whether a Ray error is among the causes of `error`."""
    from ray.exceptions import RayError

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, RayError):
            return True
        seen = seen.__cause__
    return False


def _end_process(actor: Any, may_return: bool) -> None:
    import ray

    ray.kill(actor, no_restart=not may_return)  # Ray does so also with a process that is stopped


def _oom_kills() -> int:
    """Return how many processes the kernel has killed because memory ran out, in this container or on this machine."""
    for file in _OOM_COUNTERS:
        try:
            rows = dict(line.split()[:2] for line in Path(file).read_text().splitlines())
        except (OSError, ValueError):
            continue
        if "oom_kill" in rows:
            return int(rows["oom_kill"])
    return 0
