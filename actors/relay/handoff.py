"""How text crosses between student and teacher: by token ids, or by text where their tokenizers differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from actors.relay.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class RelayPrompt:
    """One question through each model's own chat template."""

    student_ids: tuple[int, ...]
    teacher_ids: tuple[int, ...]


class Handoff(Protocol):
    """Translates between the two vocabularies. Neither direction carries end-of-text tokens or commands."""

    def teacher_context(self, prompt: RelayPrompt, output_ids: Sequence[int]) -> list[int]:
        """What the teacher continues: its prompt and the output so far, given in the student's vocabulary."""
        ...

    def student_ids(self, teacher_ids: Sequence[int]) -> list[int]:
        """What the teacher wrote, in the student's vocabulary."""
        ...


class IdHandoff:
    """Equal vocabularies: ids cross as they are, and nothing is tokenized twice."""

    def teacher_context(self, prompt: RelayPrompt, output_ids: Sequence[int]) -> list[int]:
        return [*prompt.teacher_ids, *output_ids]

    def student_ids(self, teacher_ids: Sequence[int]) -> list[int]:
        return list(teacher_ids)


class TextHandoff:
    """Different vocabularies: text crosses, and each side encodes it anew."""

    def __init__(self, student: Tokenizer, teacher: Tokenizer) -> None:
        self._student = student
        self._teacher = teacher

    def teacher_context(self, prompt: RelayPrompt, output_ids: Sequence[int]) -> list[int]:
        return [*prompt.teacher_ids, *self._teacher.encode(self._student.decode(output_ids))]

    def student_ids(self, teacher_ids: Sequence[int]) -> list[int]:
        """As the protocol has it; bytes of a last character that the teacher did not finish are dropped."""
        return self._student.encode(self._teacher.decode(teacher_ids).rstrip("\ufffd"))
