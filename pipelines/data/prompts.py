"""The one place where a question becomes a prompt, in every stage and for both models."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from actors.relay.handoff import RelayPrompt
from cluster.loading import loading
from pipelines.data.chat_templates import ChatTemplate
from pipelines.data.problem import Problem


class PromptBuilder:
    """Applies each model's own chat template, with thinking off. Raises `PromptError` if a tokenizer cannot do that."""

    def __init__(self, student: str | Path, teacher: str | Path, suffix: str) -> None:
        with loading():
            from transformers import AutoTokenizer

        self.student_tokenizer = AutoTokenizer.from_pretrained(student)
        self.teacher_tokenizer = AutoTokenizer.from_pretrained(teacher)
        self._student = ChatTemplate(self.student_tokenizer, str(student))
        self._teacher = ChatTemplate(self.teacher_tokenizer, str(teacher))
        self.student = self._student.tokenizer
        """the student's tokenizer as relay decoding uses it"""
        self._suffix = suffix

    def prompt(self, problem: Problem) -> RelayPrompt:
        """Return the problem's prompt for student and teacher."""
        return self.prompts([problem])[0]

    def prompts(self, problems: Iterable[Problem]) -> tuple[RelayPrompt, ...]:
        """Return the prompts of all problems, in order. One call for many problems takes a quarter of the time of many calls."""
        contents = [problem.question + self._suffix for problem in problems]
        both = zip(self._student.prompts(contents), self._teacher.prompts(contents), strict=True)
        return tuple(RelayPrompt(tuple(own), tuple(other)) for own, other in both)
