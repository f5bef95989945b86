"""How text crosses between student and teacher: by token ids, or by text where their tokenizers differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from actors.engines.base import ContextIds, Conversation
from actors.relay.tokenizer import Tokenizer

_REPLACEMENT = "\ufffd"
_BYTES_OF_REPLACEMENT = 3
_MOST_UNFINISHED_BYTES = 3


@dataclass(frozen=True, slots=True)
class RelayPrompt:
    """One question as token ids, rendered by each model's own chat template."""

    student_ids: tuple[int, ...]
    teacher_ids: tuple[int, ...]
    conversation: Conversation | None = None
    """the question as text, only for a teacher that takes no token ids"""

    @property
    def teacher_context(self) -> Sequence[int]:
        """The context of a teacher that answers alone."""
        return self.teacher_ids if self.conversation is None else ContextIds(self.teacher_ids, self.conversation)


class Handoff(Protocol):
    """Translates between the two vocabularies. Neither direction carries end-of-text tokens or commands."""

    def teacher_context(self, prompt: RelayPrompt, output_ids: Sequence[int]) -> list[int]:
        """Return the teacher's context: its prompt and the output so far. `output_ids` are in the student's vocabulary."""
        ...

    def student_ids(self, teacher_ids: Sequence[int]) -> list[int]:
        """Return what the teacher wrote, in the student's vocabulary."""
        ...


class IdHandoff:
    """The hand-off between equal vocabularies: token ids are passed on unchanged."""

    def teacher_context(self, prompt: RelayPrompt, output_ids: Sequence[int]) -> list[int]:
        return [*prompt.teacher_ids, *output_ids]

    def student_ids(self, teacher_ids: Sequence[int]) -> list[int]:
        return list(teacher_ids)


class TextHandoff:
    """The hand-off between different vocabularies: text is passed on, and the other side encodes it.

    If the last character is unfinished, its bytes are lost in both directions, because no text can hold them.
    """

    def __init__(self, student: Tokenizer, teacher: Tokenizer) -> None:
        self._student = student
        self._teacher = teacher

    def teacher_context(self, prompt: RelayPrompt, output_ids: Sequence[int]) -> list[int]:
        return [*prompt.teacher_ids, *self._teacher.encode(whole_text(self._student, output_ids))]

    def student_ids(self, teacher_ids: Sequence[int]) -> list[int]:
        return self._student.encode(whole_text(self._teacher, teacher_ids))


class ConversationHandoff:
    """The hand-off to a teacher that takes text and whose answers are already in the student's vocabulary.

    The teacher's tokenizer only counts how long the context is.
    """

    def __init__(self, student: Tokenizer, teacher: Tokenizer) -> None:
        self._student = student
        self._teacher = teacher

    def teacher_context(self, prompt: RelayPrompt, output_ids: Sequence[int]) -> list[int]:
        assert prompt.conversation is not None, "prompts for a teacher that takes text need their conversation"
        answer = whole_text(self._student, output_ids)
        ids = [*prompt.teacher_ids, *self._teacher.encode(answer)]
        return ContextIds(ids, replace(prompt.conversation, answer=answer))

    def student_ids(self, teacher_ids: Sequence[int]) -> list[int]:
        return list(teacher_ids)


def chosen_handoff(student: Tokenizer, teacher: Tokenizer, equal: bool, takes_text: bool) -> Handoff:
    """Return the hand-off to a teacher. `equal` says that both vocabularies are, `takes_text` that it takes no token ids."""
    if takes_text:
        return ConversationHandoff(student, teacher)
    return IdHandoff() if equal else TextHandoff(student, teacher)


def whole_text(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """Return the text of the ids, without the bytes of an unfinished last character. A U+FFFD that the model wrote stays."""
    text = tokenizer.decode(ids)
    if not text.endswith(_REPLACEMENT) or _ends_with_whole_tokens(tokenizer, ids):
        return text
    # With byte fallback, an unfinished character also spoils whole characters before it, so these are decoded again.
    shorter = [tokenizer.decode(ids[:-count]) for count in range(1, min(_MOST_UNFINISHED_BYTES, len(ids)) + 1)]
    whole = (found for found in shorter if not found.endswith(_REPLACEMENT))
    return max(text.rstrip(_REPLACEMENT), next(whole, ""), key=len)


def _ends_with_whole_tokens(tokenizer: Tokenizer, ids: Sequence[int]) -> bool:
    """Return whether encoding the text of some last ids gives these ids again. It never does for part of a character."""
    ends = (list(ids[-count:]) for count in range(1, min(_BYTES_OF_REPLACEMENT, len(ids)) + 1))
    return any(tokenizer.encode(tokenizer.decode(end)) == end for end in ends)
