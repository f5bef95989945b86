"""Writes one answer on the teacher's replica: the teacher alone, from its own prompt."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from actors.engines.base import Engine, Generation, GenerationRequest, StopReason
from actors.engines.chunks import Chunk, as_chunks
from actors.engines.pacing import Pace
from actors.relay.budget import Budget
from actors.relay.grammar import CommandGrammar
from actors.relay.handoff import IdHandoff
from actors.relay.output import Output
from actors.relay.usage import Prices, Usage
from actors.serving.answer_text import AnswerText
from actors.serving.events import Event, Finish, Summary, TeacherState
from actors.serving.recorder import PieceLog
from actors.serving.request import AnswerRequest
from actors.trajectory import Source


@dataclass(frozen=True, slots=True)
class _Solo:
    output: Output
    turn_room: int


async def solo_answer(
    engine: Engine, grammar: CommandGrammar, context_tokens: int, prices: Prices, pace: Pace, request: AnswerRequest
) -> AsyncGenerator[list[Event], None]:
    """Yield the events of an answer that the teacher writes alone; the last one is its `Summary`.

    Closing the iterator aborts the turn. Raises `EngineError`.
    """
    started = time.perf_counter()
    prompt = request.prompt.teacher_ids
    room = min(request.max_tokens, context_tokens - len(prompt))
    budget = Budget(teacher_tokens=request.max_teacher_tokens, cost=request.max_cost, prices=prices)
    if (allowed := budget.call_tokens(Usage.none(), 0, 0, len(prompt))) is not None:
        room = min(room, allowed)
    written = _Solo(Output(grammar), room)
    text = AnswerText(grammar.tokenizer, grammar.tokenizer, IdHandoff(), request.stops, shows_commands=True)
    text.begin(written)
    log = PieceLog()
    usage, finish, ids, cached = Usage.none(), Finish.LENGTH, list[int](), 0
    turn = GenerationRequest(
        request.prompt.teacher_context,
        room,
        request.teacher_sampling,
        want_logprobs=request.want_logprobs,
        seed=request.seed,
    )
    if request.stops:
        pace = Pace()  # so that the teacher stops at a stop text, and writes nothing that nobody reads
    async with aclosing(_chunks(engine, turn, pace)) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, Chunk):
                new = chunk.token_ids[: room - len(ids)]
                ids += new
                text.writes(Source.TEACHER, new, chunk.logprobs[: len(new)])
            else:
                cached = chunk.cached_tokens
                finish = Finish.LENGTH if chunk.stop is StopReason.LENGTH else Finish.STOP
            if pieces := log.add(text.take()):
                yield pieces
            if text.stopped:
                finish = Finish.STOP
                break
            if len(ids) == room and isinstance(chunk, Chunk) and len(new) < len(chunk.token_ids):
                break  # it writes more than it was asked for
    text.end()
    if ids:
        usage.teacher.add_turn(len(prompt), cached, len(ids))
    cost = usage.cost(prices)
    alone = (len(prompt) * prices.teacher.input + len(ids) * prices.teacher.output) / 1_000_000
    last = log.add(text.take())
    summary = Summary(
        finish=finish,
        spans=tuple(log.spans),
        calls=(),
        student_tokens=0,
        teacher_tokens=len(ids),
        rejected_commands=0,
        usage=usage,
        cost=cost,
        teacher_alone_cost=alone,
        teacher=TeacherState.ON,
        policy_version=0,
        policy_versions=(),
        duration_s=time.perf_counter() - started,
        stop_text=text.stop_text,
        prompt_tokens=len(prompt),
        prompt_cached_tokens=cached,
    )
    yield [*last, summary]


async def _chunks(engine: Engine, turn: GenerationRequest, pace: Pace) -> AsyncGenerator[Chunk | Generation, None]:
    """Yield the turn. It has no chunks if the budget leaves no token."""
    if turn.max_tokens > 0:
        async with aclosing(as_chunks(engine, turn, pace)) as chunks:
            async for chunk in chunks:
                yield chunk
