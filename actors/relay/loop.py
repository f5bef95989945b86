"""The relay loop: every sequence is an independent task, and all tasks share two continuously batching engines."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from actors.engines.base import Engine, EngineError
from actors.relay.handoff import RelayPrompt
from actors.relay.planned_calls import Plan
from actors.relay.sequence import RelaySequence, RelaySetup
from actors.relay.turns import Finished, StudentTurn, TeacherTurn
from actors.trajectory import Source, Trajectory

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Follower(Protocol):
    """Follows one sequence while it is written."""

    def writes(self, source: Source, ids: list[int], logprobs: list[float]) -> None:
        """Take tokens of the turn under way, in the writer's vocabulary. The student's may still be taken back."""
        ...

    def wrote(self, sequence: RelaySequence) -> None:
        """A turn has ended. The output of the sequence says what is left of its tokens."""
        ...


async def relay(
    sequence: RelaySequence, student: Engine, teacher: Engine | None, follower: Follower | None = None
) -> Trajectory:
    """Decode one sequence to its end and return it (paper section 2.1). A `follower` sees each token as it is written.

    If the teacher fails or misses `teacher_timeout_s`, the call is recorded as failed and the student goes on. It goes on
    after the tokens that a follower has seen, because they may have been shown to a reader already. An `EngineError` of the
    student is raised. Cancelling this task cancels the engine call under way. Raises ValueError if there can be calls but
    there is no teacher.
    """
    if teacher is None and sequence.needs_teacher:
        raise ValueError(
            "there can be calls, but there is no teacher: give one, or set max_calls to 0 and plan no calls"
        )
    while not isinstance(turn := sequence.next_turn(), Finished):
        if isinstance(turn, StudentTurn):
            on_tokens = None if follower is None else partial(follower.writes, Source.STUDENT)
            sequence.student_wrote(await student.generate(turn.request, on_tokens))
        else:
            assert teacher is not None
            await _call(sequence, turn, teacher, follower)
        if follower is not None:
            follower.wrote(sequence)
    return sequence.trajectory()


async def relay_all(
    prompts: Sequence[RelayPrompt],
    setup: RelaySetup,
    student: Engine,
    teacher: Engine | None,
    plans: Sequence[Plan] | None = None,
    seeds: Sequence[int] | None = None,
    finished: Callable[[], None] | None = None,
) -> list[Trajectory]:
    """Decode all prompts at the same time; return their trajectories in the order of the prompts.

    With `plans`, one for each prompt, calls are made where the plans say, not where the student would call. With `seeds`,
    one for each prompt, the random numbers of a sequence do not depend on other sequences. `finished` is called when a
    sequence ends. The first error cancels all other sequences and is raised.
    """
    nothing = [None] * len(prompts)
    sequences = [
        RelaySequence(prompt, setup, plan, seed)
        for prompt, plan, seed in zip(
            prompts, nothing if plans is None else plans, nothing if seeds is None else seeds, strict=True
        )
    ]
    return await all_or_none([relay(sequence, student, teacher) for sequence in sequences], finished)


async def all_or_none(calls: Sequence[Coroutine[Any, Any, T]], finished: Callable[[], None] | None = None) -> list[T]:
    """Run all calls at the same time; return their results in order. The first error cancels the other calls and is raised.

    `finished` is called when a call ends.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
            if finished is not None:
                for task in tasks:
                    task.add_done_callback(lambda _: finished())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]


async def _call(sequence: RelaySequence, turn: TeacherTurn, teacher: Engine, follower: Follower | None) -> None:
    deadline_s = sequence.setup.limits.teacher_timeout_s
    start = time.perf_counter()
    arrived: list[int] = []

    def on_tokens(ids: list[int], logprobs: list[float]) -> None:
        assert follower is not None
        left = turn.request.max_tokens - len(arrived)  # an engine that writes more is refused at the end of its turn
        arrived.extend(ids[:left])
        if left > 0:
            follower.writes(Source.TEACHER, ids[:left], logprobs[:left])

    try:
        async with asyncio.timeout(deadline_s):
            generation = await teacher.generate(turn.request, None if follower is None else on_tokens)
        sequence.teacher_wrote(generation, time.perf_counter() - start)
    except (EngineError, TimeoutError) as error:
        reason = str(error) if isinstance(error, EngineError) else f"the teacher missed its deadline of {deadline_s} s"
        logger.warning("call for %d tokens failed: %s", turn.requested, reason)
        sequence.teacher_failed(reason, time.perf_counter() - start, arrived)
