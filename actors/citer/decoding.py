"""Routed decoding: for every token, the router decides whether the student or the teacher writes it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import Random

from actors.citer.answer import RoutedAnswer
from actors.citer.router import TokenRouter
from actors.citer.student import Mode, SteppedStudent
from actors.engines.base import Engine, EngineError, GenerationRequest
from actors.relay.handoff import IdHandoff, RelayPrompt
from actors.relay.tokenizer import Tokenizer
from actors.settings import SamplingSettings
from actors.trajectory import Trajectory
from cluster.errors import RunError

logger = logging.getLogger(__name__)


class VocabularyError(RunError, ValueError):
    """Student and teacher have different vocabularies, so the token ids of one mean nothing to the other."""


def require_equal_vocabularies(student: dict[str, int], teacher: dict[str, int]) -> None:
    """Raise `VocabularyError` unless both tokenizers give every token the same id."""
    if student != teacher:
        differing = len({*student.items()} ^ {*teacher.items()})
        raise VocabularyError(
            f"token-level routing needs equal vocabularies, but student and teacher differ in {differing} "
            "entries: choose models of one family, or set citer.enabled to false"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedPolicy:
    """How routed decoding chooses the writer of a token, and how each model samples."""

    router: TokenRouter | None
    """None lets the student write alone, whatever the threshold"""
    threshold: float
    """the teacher writes a token if the router's confidence in the student is below it"""
    sampling: SamplingSettings
    teacher_sampling: SamplingSettings
    max_new_tokens: int
    teacher_timeout_s: float
    """deadline of one teacher token; when it is missed, the student finishes the answer alone"""
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedDecoder:
    """Decodes answers by a student and a teacher with equal vocabularies."""

    student: SteppedStudent
    teacher: Engine
    tokenizer: Tokenizer
    end_ids: Collection[int]
    """tokens that end the student's text"""
    student_context_tokens: int
    teacher_context_tokens: int

    async def decode(
        self, prompts: Sequence[RelayPrompt], policy: RoutedPolicy, begun: Sequence[Sequence[int]] = ()
    ) -> list[Trajectory]:
        """Decode all prompts at the same time; return their trajectories in the order of the prompts.

        `begun`, if given, holds the token ids that each answer begins with. If the teacher fails or misses its deadline,
        the call is recorded as failed and the student finishes that answer alone.

        The first error of the student cancels all other answers and is raised. Raises ValueError if a prompt leaves no
        room for an answer in the student's context.
        """
        mode = Mode(policy.router, policy.sampling)
        starts = begun or [()] * len(prompts)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._answer(prompt, start, policy, mode, Random(f"{policy.seed}/{index}")))
                    for index, (prompt, start) in enumerate(zip(prompts, starts, strict=True))
                ]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return [task.result() for task in tasks]

    async def _answer(
        self, prompt: RelayPrompt, begun: Sequence[int], policy: RoutedPolicy, mode: Mode, random: Random
    ) -> Trajectory:
        room = self.student_context_tokens - len(prompt.student_ids)
        if room < 1:
            raise ValueError(
                f"the prompt has {len(prompt.student_ids)} tokens, and the student's context of "
                f"{self.student_context_tokens} must hold it and at least one more: shorten the prompt or raise max_model_len"
            )
        answer = RoutedAnswer(
            prompt, begun, min(policy.max_new_tokens, room), self.end_ids, self.tokenizer.eos_token_id
        )
        async with self.student.sequence() as sequence:
            fed: Sequence[int] = [*prompt.student_ids, *answer.ids]
            while answer.finish is None:
                proposed = await sequence.feed(fed, mode, random.random())
                asks = policy.router is not None and proposed.confidence < policy.threshold
                if not (asks and not answer.teacher_failed and await self._teacher_writes(answer, policy)):
                    answer.student_wrote(proposed.token)
                fed = answer.ids[-1:]
        return answer.trajectory(self.tokenizer)

    async def _teacher_writes(self, answer: RoutedAnswer, policy: RoutedPolicy) -> bool:
        """Ask the teacher for the next token; return whether it wrote one."""
        context = IdHandoff().teacher_context(answer.prompt, answer.ids)
        started = time.perf_counter()
        try:
            if len(context) >= self.teacher_context_tokens:
                raise EngineError(
                    f"the teacher's context of {self.teacher_context_tokens} tokens cannot hold the {len(context)} tokens "
                    "so far and one more"
                )
            async with asyncio.timeout(policy.teacher_timeout_s):
                generation = await self.teacher.generate(GenerationRequest(context, 1, policy.teacher_sampling))
            answer.teacher_wrote(generation, time.perf_counter() - started)
        except (EngineError, TimeoutError) as error:
            reason = str(error) or f"the teacher missed its deadline of {policy.teacher_timeout_s:g} s"
            logger.warning("the student finishes an answer alone: %s", reason)
            answer.teacher_did_not_write(time.perf_counter() - started)
            return False
        return True
