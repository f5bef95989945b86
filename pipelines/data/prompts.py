"""The one place where a question becomes a prompt, in every stage and for both models."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from actors.engines.base import Conversation, Message
from actors.relay.chat_templates import said_by
from actors.relay.handoff import RelayPrompt
from actors.trajectory import Int32
from cluster.loading import loading
from pipelines.data.chat_templates import ChatTemplate, PromptError
from pipelines.data.problem import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class PromptBuilder:
    """Applies each model's own chat template, with thinking off. Raises `PromptError` if a tokenizer cannot do that."""

    def __init__(self, student: str | Path, teacher: str | Path, suffix: str, as_text: bool = False) -> None:
        """With `as_text`, prompts also have the conversation, for a teacher that takes text."""
        self.student_tokenizer = _tokenizer("student", str(student))
        self.teacher_tokenizer = _tokenizer("teacher", str(teacher))
        self._student = ChatTemplate(self.student_tokenizer, str(student))
        self._teacher = ChatTemplate(self.teacher_tokenizer, str(teacher))
        self.student = self._student.tokenizer
        """the student's tokenizer as relay decoding uses it"""
        self._suffix = suffix
        self._made: dict[str, tuple[Int32, Int32]] = {}
        """by content: the prompts made so far, of student and teacher"""
        self._texts: dict[str, str] | None = {} if as_text else None
        """by content: the teacher's prompts as text; None if no text is needed"""

    def prompt(self, problem: Problem) -> RelayPrompt:
        """Return the problem's prompt for student and teacher."""
        return self.prompts([problem])[0]

    def prompts(self, problems: Iterable[Problem]) -> tuple[RelayPrompt, ...]:
        """Return the prompts of all problems, in order. Each problem is tokenized once. One call for many is four times as fast."""
        contents = [problem.question + self._suffix for problem in problems]
        missing = [content for content in dict.fromkeys(contents) if content not in self._made]
        both = zip(self._student.prompts(missing), self._teacher.prompts(missing), strict=True)
        for content, (own, other) in zip(missing, both, strict=True):
            self._made[content] = np.asarray(own, np.int32), np.asarray(other, np.int32)
        if self._texts is not None:
            self._texts |= zip(missing, self._teacher.texts(missing), strict=True)
        made = ((content, *self._made[content]) for content in contents)
        return tuple(
            RelayPrompt(tuple(own.tolist()), tuple(other.tolist()), self._conversation(content))
            for content, own, other in made
        )

    def _conversation(self, content: str) -> Conversation | None:
        return None if self._texts is None else Conversation((Message("user", content),), self._texts[content])


def _tokenizer(role: str, model: str) -> PreTrainedTokenizerBase:
    """Return a model's tokenizer. Raises `PromptError` if there is no such model, or if it has no tokenizer."""
    with loading():
        from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    except Exception as error:  # transformers and tokenizers raise any type on files that are wrong, bare ones too
        where = "" if Path(model).is_dir() else f"{Path(model).absolute()} is no folder, and the hub did not give it; "
        raise PromptError(
            f"the {role} {model!r}: its tokenizer cannot be loaded: {where}check models.{role}.path ({said_by(error)})"
        ) from error
    return tokenizer
