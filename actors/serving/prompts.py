"""Turns messages, text or token ids of a request into the prompts of both models."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from actors.engines.base import Conversation, Message
from actors.engines.endpoint import Mode
from actors.engines.teachers import ServedTeacher
from actors.relay.chat_templates import ChatTemplate, ChatTemplateError
from actors.relay.handoff import RelayPrompt
from actors.serving.errors import ApiError, bad
from actors.serving.settings import Memory, ServerSettings
from cluster.loading import loading

_BEGINNING_TOKENS = 64
"""of a prompt without messages; prompts that share them share a replica"""


class Prompts:
    """Renders prompts as training does: with each model's own chat template, thinking off."""

    def __init__(self, settings: ServerSettings, remote: ServedTeacher | None = None) -> None:
        """`remote` is the teacher behind a url, if it is there."""
        with loading():
            from transformers import AutoTokenizer

        student, teacher = settings.student.path, settings.teacher_tokenizer
        self._own = AutoTokenizer.from_pretrained(student, trust_remote_code=False)
        self._its = AutoTokenizer.from_pretrained(teacher, trust_remote_code=False)
        self._student = ChatTemplate(self._own, student)
        self._teacher = ChatTemplate(self._its, teacher)
        self._as_text = remote is not None and remote.takes_text
        self.teacher_takes_chats_only = remote is not None and remote.wire.mode is Mode.CHAT
        self._equal = self._own.get_vocab() == self._its.get_vocab()
        self._suffix, self._memory = settings.prompt_suffix, settings.memory
        self.tokens = len(self._own)
        """of the student's vocabulary"""

    def chat(self, messages: Sequence[Message]) -> RelayPrompt:
        """Return the prompt of a conversation."""
        asked = [
            replace(message, content=message.content + self._suffix) if message.role == "user" else message
            for message in (newest_question(messages) if self._memory is Memory.QUESTION else messages)
        ]
        try:
            own, its = self._student.chats([asked])[0], self._teacher.chats([asked])[0]
            conversation = None
            if self._as_text:
                conversation = Conversation(tuple(asked), self._teacher.chat_texts([asked])[0])
            return RelayPrompt(tuple(own), tuple(its), conversation)
        except ChatTemplateError as error:
            raise bad("messages", str(error)) from error

    def text(self, text: str) -> RelayPrompt:
        """Return the prompt of a text that is to be continued. Names of special tokens in it are special tokens."""
        student, teacher = (
            tuple(tokenizer.encode(text, add_special_tokens=False)) for tokenizer in (self._own, self._its)
        )
        return RelayPrompt(student, teacher, self._conversation(text))

    def ids(self, ids: Sequence[int]) -> RelayPrompt:
        """Return the prompt of token ids in the student's vocabulary."""
        if unknown := [token for token in ids if not 0 <= token < self.tokens]:
            raise bad("prompt", f"prompt has the token id {unknown[0]}; ids are from 0 to {self.tokens - 1}")
        if self._equal and not self._as_text:
            return RelayPrompt(tuple(ids), tuple(ids))
        text = self._own.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return RelayPrompt(
            tuple(ids), tuple(self._its.encode(text, add_special_tokens=False)), self._conversation(text)
        )

    def _conversation(self, text: str) -> Conversation | None:
        """Return a text that the teacher continues as it is."""
        return Conversation((), text) if self._as_text else None


def newest_question(messages: Sequence[Message]) -> list[Message]:
    """Return the messages before the first question, and those from the newest question on."""
    asked = [number for number, message in enumerate(messages) if message.role == "user"]
    return [*messages[: asked[0]], *messages[asked[-1] :]] if asked else list(messages)


def session_of_messages(messages: Sequence[Message]) -> str:
    """Return the name of all conversations that begin like this one, up to the first answer."""
    first = next((i for i, message in enumerate(messages) if message.role == "assistant"), len(messages))
    return _digest([(message.role, message.content) for message in messages[:first]])


def session_of_ids(ids: Sequence[int]) -> str:
    """Return the name of all prompts that begin like this one."""
    return _digest(list(ids[:_BEGINNING_TOKENS]))


def _digest(beginning: object) -> str:
    return hashlib.blake2b(repr(beginning).encode(), digest_size=16).hexdigest()


def check_room(tokens: int, context_tokens: int, whose: str, where: str) -> None:
    """Raise `ApiError` if a prompt of so many tokens leaves no room for an answer. The request has it at the key `where`."""
    if tokens == 0:
        raise bad(where, "the prompt is empty: it should have at least one token")
    if tokens >= context_tokens:
        raise ApiError(
            400,
            f"the prompt has {tokens} tokens, but the {whose}'s context of {context_tokens} tokens must hold it and at "
            "least one more: shorten it",
            param=where,
            code="context_length_exceeded",
        )
