"""Asks the engines now and then, without waiting, how much they have written. This shows that a stage still decodes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from pipelines.terminal.progress import wrote

if TYPE_CHECKING:
    from ray.actor import ActorHandle

    from actors.engine_host import Activity

_EVERY_S = 2.0


@dataclass(slots=True)
class ActivityMonitor:
    """Tells the innermost progress what these actors write, and the pool when a token was last written."""

    actors: list[ActorHandle[Any]]
    clock: Callable[[], float] = time.monotonic
    last_token: float = field(init=False)
    """time of `clock` when new tokens were last seen"""
    _asked: dict[int, ray.ObjectRef[Any]] = field(default_factory=dict)
    """by the actor's place"""
    _known: dict[int, Activity] = field(default_factory=dict)
    _looked: float = field(init=False)
    _told: float = field(init=False)

    def __post_init__(self) -> None:
        self.last_token = self._looked = self._told = self.clock()

    def add(self, actor: ActorHandle[Any]) -> None:
        """Watch one more actor."""
        self.actors.append(actor)

    def look(self) -> None:
        """Take the answers that have come, report them, and ask again. Does nothing within two seconds of the last time."""
        now = self.clock()
        if now - self._looked < _EVERY_S:
            return
        self._looked = now
        self.take(self._answers(), now)
        for place, actor in enumerate(self.actors):
            if place not in self._asked:
                self._asked[place] = actor.activity.remote()

    def take(self, answers: dict[int, Activity], now: float) -> None:
        """Take the actors' answers, by the actor's place. An actor that has restarted counts its tokens from 0."""
        tokens, compared = 0, False
        for place, activity in answers.items():
            if place in self._known:
                before = self._known[place].tokens
                tokens += activity.tokens - before if activity.tokens >= before else activity.tokens
                compared = True
            self._known[place] = activity
        if not answers:
            return
        if tokens:
            self.last_token = now
        if compared:  # the first answers have nothing to be compared with
            wrote(sum(one.finished for one in self._known.values()), tokens / max(now - self._told, 1e-9))
        self._told = now

    def _answers(self) -> dict[int, Activity]:
        found = {}
        for place, reference in list(self._asked.items()):
            ready, _ = ray.wait([reference], timeout=0)
            if not ready:
                continue
            del self._asked[place]
            try:
                found[place] = ray.get(reference)
            except RayError:  # it is restarting; the pool handles that
                self._known.pop(place, None)
        return found
