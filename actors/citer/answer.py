"""One routed answer while it is written: its tokens with their writers, and the trajectory that it becomes."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

import numpy as np

from actors.engines.base import EngineError, Generation, StopReason
from actors.relay.handoff import RelayPrompt
from actors.relay.tokenizer import Tokenizer
from actors.trajectory import Call, CallEnding, FinishReason, RejectedCommands, Source, Trajectory


class RoutedAnswer:
    """Tokens with their writers.

    Consecutive teacher tokens count as one call. The router asks for no length, so `requested` equals `written`. A failed
    request for a token is a call of its own.
    """

    def __init__(
        self,
        prompt: RelayPrompt,
        begun: Sequence[int],
        max_new_tokens: int,
        end_ids: Collection[int],
        eos_token_id: int,
    ) -> None:
        """Start with the tokens `begun`, which count as the student's. A student token in `end_ids` ends the answer."""
        self.prompt = prompt
        self.ids: list[int] = []
        self.finish: FinishReason | None = None
        """None until the answer ends"""
        self._sources: list[Source] = []
        self._seconds: list[float] = []
        self._prompt_tokens: list[int] = []
        self._cached_tokens: list[int] = []
        self._failed: list[Call] = []
        self._max_new_tokens = max_new_tokens
        self._end_ids = end_ids
        self._eos_token_id = eos_token_id
        for token in begun:
            self.student_wrote(token)

    @property
    def teacher_failed(self) -> bool:
        """Whether a request for a token failed."""
        return bool(self._failed)

    def student_wrote(self, token: int) -> None:
        """Append a token of the student."""
        self._append(token, Source.STUDENT)
        if token in self._end_ids:
            self.finish = FinishReason.STUDENT_END

    def teacher_wrote(self, generation: Generation, seconds: float) -> None:
        """Append the teacher's token. Its end-of-text token is replaced by the student's.

        Raises `EngineError` if the teacher wrote another number of tokens than 1.
        """
        if len(generation.token_ids) != 1:
            raise EngineError(f"the teacher's engine wrote {len(generation.token_ids)} tokens where 1 was asked for")
        ended = generation.stop is StopReason.END_OF_TEXT
        token = self._eos_token_id if ended else int(generation.token_ids[0])
        self._append(token, Source.TEACHER, seconds, generation.prompt_tokens, generation.cached_tokens)
        if ended:
            self.finish = FinishReason.TEACHER_END

    def teacher_did_not_write(self, seconds: float) -> None:
        """Record a failed request for one token."""
        self._failed.append(
            Call(position=len(self.ids), requested=1, written=0, duration_s=seconds, ending=CallEnding.FAILED)
        )

    def trajectory(self, tokenizer: Tokenizer) -> Trajectory:
        """Return the finished answer. All log-probs are 0, because none is recorded. The student's policy version is 0."""
        assert self.finish is not None, "the answer is not finished"
        sources = np.asarray(self._sources, np.uint8)
        return Trajectory(
            prompt_ids=np.asarray(self.prompt.student_ids, np.int32),
            token_ids=np.asarray(self.ids, np.int32),
            sources=sources,
            logprobs=np.zeros(len(self.ids), np.float32),
            versions=np.where(sources == Source.STUDENT, 0, -1).astype(np.int32),
            constrained=np.zeros(len(self.ids), np.bool_),
            calls=tuple(sorted([*self._runs(), *self._failed], key=lambda call: call.position)),
            rejected=RejectedCommands(),
            finish=self.finish,
            text=tokenizer.decode(self.ids),
        )

    def _append(
        self, token: int, source: Source, seconds: float = 0.0, prompt_tokens: int = 0, cached_tokens: int = 0
    ) -> None:
        self.ids.append(token)
        self._sources.append(source)
        self._seconds.append(seconds)
        self._prompt_tokens.append(prompt_tokens)
        self._cached_tokens.append(cached_tokens)
        if len(self.ids) >= self._max_new_tokens:
            self.finish = FinishReason.LENGTH

    def _runs(self) -> list[Call]:
        runs = []
        for source, group in itertools.groupby(range(len(self.ids)), key=lambda place: self._sources[place]):
            places = list(group)
            if source is Source.STUDENT:
                continue
            ends = self.finish is FinishReason.TEACHER_END and places[-1] == len(self.ids) - 1
            runs.append(
                Call(
                    position=places[0],
                    requested=len(places),
                    written=len(places),
                    duration_s=sum(self._seconds[place] for place in places),
                    ending=CallEnding.END_OF_TEXT if ends else CallEnding.COMPLETED,
                    prompt_tokens=sum(self._prompt_tokens[place] for place in places),
                    cached_tokens=sum(self._cached_tokens[place] for place in places),
                )
            )
        return runs
