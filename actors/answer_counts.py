"""Counts the answers that an actor decodes, and their calls, for its metrics."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from actors.trajectory import CallEnding, Source, TrajectoryBatch
from cluster.metrics.publisher import Reading

_MOST_CALLS = 100_000
"""calls that are kept for the next reading; where nobody reads, they must not fill the memory"""


class AnswerCounts:
    """Counts since the actor began. One thread counts, and another one may read."""

    def __init__(self) -> None:
        self.in_progress = 0
        self.answers = 0
        self.tokens: Counter[Source] = Counter()
        self.calls: Counter[CallEnding] = Counter()
        self._call_seconds: deque[float] = deque(maxlen=_MOST_CALLS)
        self._call_tokens: deque[float] = deque(maxlen=_MOST_CALLS)
        """what the next readings observe"""

    @contextmanager
    def order(self, answers: int) -> Iterator[None]:
        """An order of so many answers is decoded during the block."""
        self.in_progress += answers
        try:
            yield
        finally:
            self.in_progress -= answers

    def count(self, batch: TrajectoryBatch) -> None:
        """Count finished answers. All of an order are counted at once, by column."""
        self.answers += len(batch)
        for source in Source:
            self.tokens[source] += int((batch.sources == source).sum())
        endings = batch.call_column("ending")
        for ending in CallEnding:
            self.calls[ending] += int((endings == ending).sum())
        self._call_seconds.extend(batch.call_column("duration_s").tolist())
        self._call_tokens.extend(batch.call_column("written")[np.asarray(endings != CallEnding.FAILED)].tolist())

    def readings(self) -> Iterator[Reading]:
        """Yield the counts, and each call that no earlier reading has observed."""
        yield Reading("relayllm_answers", self.answers)
        yield Reading("relayllm_answers_in_progress", self.in_progress)
        for source in Source:
            yield Reading("relayllm_output_tokens", self.tokens[source], {"writer": source.name.lower()})
        for ending in CallEnding:
            yield Reading("relayllm_calls", self.calls[ending], {"ending": ending.name.lower()})
        for name, new in (
            ("relayllm_call_seconds", self._call_seconds),
            ("relayllm_call_tokens", self._call_tokens),
        ):
            while new:
                yield Reading(name, new.popleft())
