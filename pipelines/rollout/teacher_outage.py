"""Keeps groups out of training that a silent teacher has spoilt: they are decoded again until it answers."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

from pipelines.rollout.decode_and_grade import GradedOrder
from pipelines.rollout.pool import RolloutError

logger = logging.getLogger(__name__)


_MOST_REPEATS = 5
"""of one group whose calls fail while the teacher answers others: the fault is then in the group"""
_ALONE_SHARE = 0.5
"""share of the patience after which the fault is taken to be in the group if no other one was decoded meanwhile"""


class TeacherOutage:
    """Judges groups as they finish, and remembers since when the teacher has been silent."""

    def __init__(self, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """After `patience_s` seconds without a group that the teacher has answered, `spoilt` raises."""
        self._patience_s, self._clock = patience_s, clock
        self._since: float | None = None
        self._silent: set[int] = set()
        """places of the groups that were spoilt since the teacher last answered"""
        self._spoilt: Counter[int] = Counter()
        """how often each place was spoilt that is not learned from yet"""
        self._answered_since: set[int] = set()
        """places of `_spoilt` after which the teacher has answered another group"""

    def spoilt(self, group: GradedOrder) -> bool:
        """Return whether a group has to be decoded again: more than half of its calling answers have an unanswered call.

        What is left of such a group would teach the student that calls do not help. A group whose calls fail again and again
        while the teacher answers others is learned from as it is; so is one that fails alone for half of the patience.
        Raises `RolloutError` if the teacher has been silent for too long.
        """
        place = group.first
        calling, unanswered = int((group.graded.calls > 0).sum()), int(group.graded.unanswered.sum())
        if 2 * unanswered <= calling:
            if calling:
                self._answered()
            self._accept(place)
            return False
        self._silent.add(place)
        self._spoilt[place] += 1
        silent_s = 0.0 if self._since is None else self._clock() - self._since
        alone = self._silent == {place} and silent_s > _ALONE_SHARE * self._patience_s
        if (alone or place in self._answered_since) and self._spoilt[place] > _MOST_REPEATS:
            logger.warning("a group lost its calls %d times; what is left of it is learned from", self._spoilt[place])
            self._accept(place)
            return False
        self._wait(unanswered, calling)
        return True

    def _answered(self) -> None:
        if self._since is not None:
            logger.info("the teacher answers again after %.0f s", self._clock() - self._since)
        self._since = None
        self._silent.clear()
        self._answered_since.update(self._spoilt)

    def _accept(self, place: int) -> None:
        self._silent.discard(place)
        self._answered_since.discard(place)
        del self._spoilt[place]

    def _wait(self, unanswered: int, calling: int) -> None:
        """Note that the teacher is silent, and raise `RolloutError` if it has been for too long."""
        now = self._clock()
        if self._since is None:
            self._since = now
            logger.warning(
                "the teacher does not answer: %d of %d calling answers of a group lost a call. Such groups are decoded again and not "
                "learned from. The run ends if this goes on for %.0f s (grpo.teacher_outage_s)",
                unanswered,
                calling,
                self._patience_s,
            )
        if now - self._since > self._patience_s:
            raise RolloutError(
                f"the teacher has not answered for {now - self._since:.0f} s (grpo.teacher_outage_s is {self._patience_s:.0f}), so "
                "nothing can be learned from calls. Mend the teacher; the same command then goes on from the last checkpoint"
            )
