"""The output of one relayed sequence so far, stored as columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from actors.engines.base import Generation
from actors.relay.grammar import CommandGrammar
from actors.relay.handoff import RelayPrompt
from actors.trajectory import Call, FinishReason, RejectedCommands, Source, Trajectory


class Output:
    """Tokens with their writers. The student's last tokens can be taken back."""

    def __init__(self, grammar: CommandGrammar) -> None:
        self._grammar = grammar
        self.ids: list[int] = []
        self.student_tokens = 0
        self.sources: list[Source] = []
        """who wrote each token"""
        self._logprobs: list[float] = []
        self.versions: list[int] = []
        """policy version that sampled each token; -1 for the teacher's"""
        self._constrained: list[bool] = []
        self._stripped: list[int] = []
        """the output without commands, up to `_stripped_to`"""
        self._stripped_to = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def teacher_tokens(self) -> int:
        return len(self.ids) - self.student_tokens

    def by_student(self, generation: Generation, ids: Sequence[int], constrained: bool) -> None:
        """Append `ids`, the first tokens of a student's turn. `generation` has their log-probs and versions."""
        count = len(ids)
        self.ids += ids
        self.student_tokens += count
        self.sources += [Source.STUDENT] * count
        self._logprobs += generation.logprobs[:count].tolist()
        self.versions += generation.versions[:count].tolist()
        self._constrained += [constrained] * count

    def by_teacher(self, ids: Sequence[int]) -> None:
        """Append a teacher's turn. `without_commands` must have been called for its context."""
        count = len(ids)
        self.ids += ids
        self._stripped += ids
        self._stripped_to = len(self.ids)
        self.sources += [Source.TEACHER] * count
        self._logprobs += [0.0] * count
        self.versions += [-1] * count
        self._constrained += [False] * count

    def take_back(self) -> int:
        """Remove the last token, which must be the student's, and return it."""
        for column in (self.sources, self._logprobs, self.versions, self._constrained):
            column.pop()
        self.student_tokens -= 1
        return self.ids.pop()

    def without_commands(self) -> list[int]:
        """Return all ids except commands, as the teacher sees them. After this call, the tokens so far cannot be taken back."""
        self._stripped += self._grammar.strip(self.ids[self._stripped_to :])
        self._stripped_to = len(self.ids)
        return self._stripped

    def trajectory(
        self, prompt: RelayPrompt, calls: Sequence[Call], rejected: RejectedCommands, finish: FinishReason
    ) -> Trajectory:
        """Return the finished trajectory."""
        return Trajectory(
            prompt_ids=np.asarray(prompt.student_ids, np.int32),
            token_ids=np.asarray(self.ids, np.int32),
            sources=np.asarray(self.sources, np.uint8),
            logprobs=np.asarray(self._logprobs, np.float32),
            versions=np.asarray(self.versions, np.int32),
            constrained=np.asarray(self._constrained, np.bool_),
            calls=tuple(calls),
            rejected=rejected,
            finish=finish,
            text=self._grammar.tokenizer.decode(self.ids),
        )
