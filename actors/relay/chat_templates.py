"""Turns messages into a prompt with a model's own chat template. The date has no effect, and no text can begin a new turn."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from actors.engines.base import Message
from actors.relay.tokenizer import TokenizerError, TransformersTokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

TEMPLATE_DATE = datetime(2024, 7, 26)
"""the date that every chat template gets; it is the default of Llama 3's template"""

_CONTENT = "\ue000"
"""stands for the content in a rendered template; no data contains it"""

Encode = Callable[[str], list[int]]


class ChatTemplateError(ValueError):
    """A model's tokenizer cannot write a prompt; the message names the model."""


class ChatTemplate:
    """The chat template of a model's tokenizer: the messages, thinking off, then the beginning of the answer.

    Raises `ChatTemplateError` if there is none, or if it fails.
    """

    error: ClassVar[type[ChatTemplateError]] = ChatTemplateError

    def __init__(self, tokenizer: PreTrainedTokenizerBase, model: str) -> None:
        self._pretrained = tokenizer
        self._model = model
        if not tokenizer.chat_template:
            raise self.error(
                f"{model}: the tokenizer has no chat template; set tokenizer.chat_template and save the tokenizer, or take "
                "the model's instruction-tuned variant"
            )
        try:
            self.tokenizer = TransformersTokenizer(tokenizer)
        except TokenizerError as error:
            raise self.error(f"{model}: {error}") from error
        except Exception as error:  # tokenizers raises bare ones
            raise self.error(f"{model}: the tokenizer cannot encode text: {said_by(error)}") from error
        added = tokenizer.added_tokens_decoder.values()
        self._special = _any_of([token.content for token in added if token.special])
        self._added = _any_of([token.content for token in added])
        if self._rendered([[Message("user", _CONTENT)]])[0].rstrip().endswith("<think>"):
            logger.warning(
                "%s: the chat template opens <think> although thinking is off: answers begin with reasoning, for "
                "which max_new_tokens needs room",
                model,
            )

    def prompts(self, contents: Sequence[str]) -> list[list[int]]:
        """Return the prompt of each content, as a user's only message. One call for many takes a quarter of the time of many calls."""
        return self.chats([[Message("user", content)] for content in contents])

    def chats(self, chats: Sequence[Sequence[Message]]) -> list[list[int]]:
        """Return the prompt of each conversation."""
        if not chats:
            return []
        rendered = self._rendered(chats)
        prompts: list[list[int]] = self._pretrained(rendered, add_special_tokens=False, split_special_tokens=False)[
            "input_ids"
        ]
        for index, chat in enumerate(chats):
            special = self._special
            if special is not None and any(special.search(message.content) for message in chat):
                prompts[index] = self._with_contents_as_text(chat, rendered[index])
        return prompts

    def texts(self, contents: Sequence[str]) -> list[str]:
        """Return the prompt of each content, as a user's only message, as text. See `chat_texts`."""
        return self.chat_texts([[Message("user", content)] for content in contents])

    def chat_texts(self, chats: Sequence[Sequence[Message]]) -> list[str]:
        """Return the prompt of each conversation as text.

        A server encodes such text itself, and would take the name of a special token for that token. So a content that has
        one raises `ChatTemplateError`.
        """
        for content in (message.content for chat in chats for message in chat):
            if self._special is not None and (found := self._special.search(content)):
                raise self.error(
                    f"{self._model}: a question names the special token {found[0]!r}, which the teacher's server would not "
                    f"take for text: {content[:80]!r}; leave it out of the data"
                )
        return self._rendered(chats) if chats else []

    def _rendered(self, chats: Sequence[Sequence[Message]]) -> list[str]:
        messages = [[{"role": message.role, "content": message.content} for message in chat] for chat in chats]
        try:
            rendered: list[str] = self._pretrained.apply_chat_template(
                messages,
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,
                strftime_now=TEMPLATE_DATE.strftime,
            )
        except Exception as error:  # a template is a program of its own, and raises what it likes
            raise self.error(
                f"{self._model}: the chat template fails on {_described(chats[0])}: {said_by(error)}"
            ) from error
        return rendered

    def _with_contents_as_text(self, chat: Sequence[Message], rendered: str) -> list[int]:
        """Return the prompt of a conversation that names special tokens. Their names are encoded as plain text."""
        parts = self._rendered([[Message(message.role, _CONTENT) for message in chat]])[0].split(_CONTENT)
        contents = _contents_between(parts, [message.content for message in chat], rendered)
        if contents is not None:
            ones = ["1"] * len(chat)
            whole = self._pretrained.encode("1".join(parts), add_special_tokens=False, split_special_tokens=False)
            for encode in (self._as_text, self.tokenizer.encode):
                # The template's tokens around the contents must not change by being encoded in parts.
                if self._in_parts(parts, ones, encode) == whole:
                    return self._in_parts(parts, contents, encode)
        named = next(message.content for message in chat if self._special and self._special.search(message.content))
        raise self.error(
            f"{self._model}: the tokenizer cannot write a question as plain text that names one of its special tokens: "
            f"{named[:80]!r}; leave it out of the data"
        )

    def _in_parts(self, parts: Sequence[str], contents: Sequence[str], encode: Encode) -> list[int]:
        """Return the ids of the contents and the template between them, cut at the template's own tokens."""
        ids: list[int] = []
        text = ""
        for index, part in enumerate(parts):
            found = list(self._added.finditer(part)) if self._added else []
            first = 0 if index == 0 else (found[0].start() if found else len(part))
            last = len(part) if index == len(parts) - 1 else max(found[-1].end() if found else 0, first)
            text += part[:first]
            if first < last:
                ids += encode(text) if text else []
                text = ""
                ids += self._pretrained.encode(part[first:last], add_special_tokens=False, split_special_tokens=False)
            text += part[last:]
            if index < len(contents):
                text += contents[index]
        return [*ids, *encode(text)] if text else ids

    def _as_text(self, text: str) -> list[int]:
        ids: list[int] = self._pretrained.encode(text, add_special_tokens=False, split_special_tokens=True)
        return ids


def said_by(error: Exception) -> str:
    """Return the first line of an error, or its type if it says nothing."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def _contents_between(parts: Sequence[str], contents: Sequence[str], rendered: str) -> list[str] | None:
    """Return the contents as they appear between the template's parts. None if the template changes more than spaces around them."""
    if len(parts) != len(contents) + 1 or not rendered.startswith(parts[0]):
        return None
    found: list[str] = []
    place = len(parts[0])
    for content, after in zip(contents, parts[1:], strict=True):
        shown = next((one for one in (content, content.strip()) if rendered.startswith(one + after, place)), None)
        if shown is None:
            return None
        found.append(shown)
        place += len(shown) + len(after)
    return found if place == len(rendered) else None


def _described(chat: Sequence[Message]) -> str:
    if len(chat) == 1:
        return f"a question of one {chat[0].role} turn"
    return f"a conversation of {', '.join(message.role for message in chat)}"


def _any_of(texts: Sequence[str]) -> re.Pattern[str] | None:
    longest_first = sorted(filter(None, texts), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
