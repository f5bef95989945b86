"""Two schedules, relay decoding and lock-step decoding of the same turns, and an engine that takes no time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from actors.engines.base import Engine, Generation, GenerationRequest, OnTokens, StopReason
from actors.relay.loop import relay
from actors.relay.sequence import RelaySequence, StudentTurn, TeacherTurn


async def relayed(sequences: Sequence[RelaySequence], student: Engine, teacher: Engine) -> None:
    """Decode all sequences at the same time. No sequence waits for another."""
    await asyncio.gather(*(relay(sequence, student, teacher) for sequence in sequences))


async def in_lock_step(sequences: Sequence[RelaySequence], student: Engine, teacher: Engine) -> None:
    """Decode all sequences in rounds. In each round, all student turns run to their end, and then all calls run in one batch."""

    async def student_turns(sequence: RelaySequence) -> None:
        while isinstance(turn := sequence.next_turn(), StudentTurn):
            sequence.student_wrote(await student.generate(turn.request))

    async def call(sequence: RelaySequence, turn: TeacherTurn) -> None:
        sequence.teacher_wrote(await teacher.generate(turn.request), duration_s=0.0)

    while True:
        await asyncio.gather(*map(student_turns, sequences))
        turns = [(sequence, sequence.next_turn()) for sequence in sequences]
        calls = [call(sequence, turn) for sequence, turn in turns if isinstance(turn, TeacherTurn)]
        if not calls:
            return
        await asyncio.gather(*calls)


class Instant:
    """An engine that writes at once, so that only the time of the other engine remains.

    With `s_per_token`, it takes that time for each token, like an engine on a device of its own.
    """

    def __init__(self, token: int, s_per_token: float = 0.0) -> None:
        self._token = token
        self._s_per_token = s_per_token

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        """Return a turn of `max_tokens` equal tokens."""
        count = request.max_tokens
        await asyncio.sleep(count * self._s_per_token)
        return Generation(
            token_ids=np.full(count, self._token, np.int32),
            logprobs=np.zeros(count, np.float32),
            versions=np.zeros(count, np.int32),
            stop=StopReason.LENGTH,
            prompt_tokens=len(request.prompt_ids),
            cached_tokens=0,
        )
