"""The one place where a question becomes a prompt, in every stage and for both models."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from actors.relay.handoff import RelayPrompt
from pipelines.problems import Problem


class PromptBuilder:
    """Applies each model's own chat template, thinking off."""

    def __init__(self, student: str | Path, teacher: str | Path, suffix: str) -> None:
        from transformers import AutoTokenizer

        self.student_tokenizer = AutoTokenizer.from_pretrained(student)
        self.teacher_tokenizer = AutoTokenizer.from_pretrained(teacher)
        self._suffix = suffix

    def prompt(self, problem: Problem) -> RelayPrompt:
        """Return the problem's prompt for student and teacher."""
        messages = [{"role": "user", "content": problem.question + self._suffix}]
        student, teacher = (
            tokenizer.apply_chat_template(messages, add_generation_prompt=True, enable_thinking=False)["input_ids"]
            for tokenizer in (self.student_tokenizer, self.teacher_tokenizer)
        )
        return RelayPrompt(tuple(student), tuple(teacher))

    def prompts(self, problems: Iterable[Problem]) -> tuple[RelayPrompt, ...]:
        return tuple(self.prompt(problem) for problem in problems)
