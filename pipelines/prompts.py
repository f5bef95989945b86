"""The one place where a question becomes a prompt, in every stage and for both models."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from actors.relay.handoff import RelayPrompt
from cluster.loading import loading
from pipelines.problems import Problem


class PromptBuilder:
    """Applies each model's own chat template, thinking off."""

    def __init__(self, student: str | Path, teacher: str | Path, suffix: str) -> None:
        with loading():
            from transformers import AutoTokenizer

        self.student_tokenizer = AutoTokenizer.from_pretrained(student)
        self.teacher_tokenizer = AutoTokenizer.from_pretrained(teacher)
        self._suffix = suffix

    def prompt(self, problem: Problem) -> RelayPrompt:
        """Return the problem's prompt for student and teacher."""
        return self.prompts([problem])[0]

    def prompts(self, problems: Iterable[Problem]) -> tuple[RelayPrompt, ...]:
        """Return the prompts of all problems, in their order; together they take a quarter of the time."""
        chats = [[{"role": "user", "content": problem.question + self._suffix}] for problem in problems]
        if not chats:
            return ()
        student, teacher = (
            tokenizer.apply_chat_template(chats, add_generation_prompt=True, enable_thinking=False)["input_ids"]
            for tokenizer in (self.student_tokenizer, self.teacher_tokenizer)
        )
        return tuple(RelayPrompt(tuple(own), tuple(other)) for own, other in zip(student, teacher, strict=True))
