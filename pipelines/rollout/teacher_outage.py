"""Keeps groups out of training that a silent teacher has spoilt: they are decoded again until it answers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from actors.reward import GradedGroups
from pipelines.rollout.pool import RolloutError

logger = logging.getLogger(__name__)


class TeacherOutage:
    """Judges groups as they finish, and remembers since when the teacher has been silent."""

    def __init__(self, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """After `patience_s` seconds without a group that the teacher has answered, `spoilt` raises."""
        self._patience_s, self._clock = patience_s, clock
        self._since: float | None = None
        self._spoilt = 0

    def spoilt(self, group: GradedGroups) -> bool:
        """Return whether a group has to be decoded again: more than half of its calling answers have an unanswered call.

        What is left of such a group would teach the student that calls do not help. Raises `RolloutError` if the teacher
        has been silent for too long.
        """
        calling, unanswered = int((group.calls > 0).sum()), int(group.unanswered.sum())
        if 2 * unanswered <= calling:
            if calling and self._since is not None:
                logger.info(
                    "the teacher answers again after %.0f s; %d groups were or are decoded again",
                    self._clock() - self._since,
                    self._spoilt,
                )
                self._since = None
            return False
        now = self._clock()
        if self._since is None:
            self._since, self._spoilt = now, 0
            logger.warning(
                "the teacher does not answer: %d of %d calling answers of a group lost a call. Such groups are decoded again and not "
                "learned from. The run ends if this goes on for %.0f s (grpo.teacher_outage_s)",
                unanswered,
                calling,
                self._patience_s,
            )
        self._spoilt += 1
        if now - self._since > self._patience_s:
            raise RolloutError(
                f"the teacher has not answered for {now - self._since:.0f} s (grpo.teacher_outage_s is {self._patience_s:.0f}), so "
                "nothing can be learned from calls. Mend the teacher; the same command then goes on from the last checkpoint"
            )
        return True
