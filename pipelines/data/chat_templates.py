"""Turns text into a prompt with a model's own chat template. The date has no effect, and no data can begin a new turn."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from actors.relay.tokenizer import TokenizerError, TransformersTokenizer
from pipelines.data.readers import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

TEMPLATE_DATE = datetime(2024, 7, 26)
"""the date that every chat template gets; it is the default of Llama 3's template"""

_CONTENT = "\ue000"
"""stands for the content in a rendered template; no data contains it"""

Encode = Callable[[str], list[int]]


class PromptError(DataError):
    """A model's tokenizer cannot write the prompts; the message names the model."""


class ChatTemplate:
    """The chat template of a model's tokenizer: one user turn, thinking off, then the beginning of the answer.

    Raises `PromptError` if there is none, or if it fails.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, model: str) -> None:
        self._pretrained = tokenizer
        self._model = model
        if not tokenizer.chat_template:
            raise PromptError(
                f"{model}: the tokenizer has no chat template; set tokenizer.chat_template and save the tokenizer, or take "
                "the model's instruction-tuned variant"
            )
        try:
            self.tokenizer = TransformersTokenizer(tokenizer)
        except TokenizerError as error:
            raise PromptError(f"{model}: {error}") from error
        added = tokenizer.added_tokens_decoder.values()
        self._special = _any_of([token.content for token in added if token.special])
        self._added = _any_of([token.content for token in added])
        if self._rendered([_CONTENT])[0].rstrip().endswith("<think>"):
            logger.warning(
                "%s: the chat template opens <think> although thinking is off: answers begin with reasoning, for "
                "which max_new_tokens needs room",
                model,
            )

    def prompts(self, contents: Sequence[str]) -> list[list[int]]:
        """Return the prompt of each content. One call for many contents takes a quarter of the time of many calls."""
        if not contents:
            return []
        rendered = self._rendered(contents)
        prompts: list[list[int]] = self._pretrained(rendered, add_special_tokens=False, split_special_tokens=False)[
            "input_ids"
        ]
        for index, content in enumerate(contents):
            if self._special is not None and self._special.search(content):
                prompts[index] = self._with_content_as_text(content, rendered[index])
        return prompts

    def texts(self, contents: Sequence[str]) -> list[str]:
        """Return the prompt of each content as text.

        A server encodes such text itself, and would take the name of a special token for that token. So a content that has
        one raises `PromptError`.
        """
        for content in contents:
            if self._special is not None and (found := self._special.search(content)):
                raise PromptError(
                    f"{self._model}: a question names the special token {found[0]!r}, which the teacher's server would not "
                    f"take for text: {content[:80]!r}; leave it out of the data"
                )
        return self._rendered(contents) if contents else []

    def _rendered(self, contents: Sequence[str]) -> list[str]:
        from jinja2 import TemplateError

        chats = [[{"role": "user", "content": content}] for content in contents]
        try:
            rendered: list[str] = self._pretrained.apply_chat_template(
                chats,
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,
                strftime_now=TEMPLATE_DATE.strftime,
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise PromptError(
                f"{self._model}: the chat template fails on a question of one user turn: {error}"
            ) from error
        return rendered

    def _with_content_as_text(self, content: str, rendered: str) -> list[int]:
        """Return the prompt of a content that names special tokens. Their names are encoded as plain text."""
        before, *after = self._rendered([_CONTENT])[0].split(_CONTENT)
        whole = self._pretrained.encode(
            before + "1" + "".join(after), add_special_tokens=False, split_special_tokens=False
        )
        if len(after) == 1 and rendered.startswith(before) and rendered.endswith(after[0]):
            middle = rendered[len(before) : len(rendered) - len(after[0])]
            for encode in (self._as_text, self.tokenizer.encode):
                # The template's tokens around the content must not change by being encoded in parts.
                if self._in_parts(before, "1", after[0], encode) == whole:
                    return self._in_parts(before, middle, after[0], encode)
        raise PromptError(
            f"{self._model}: the tokenizer cannot write a question as plain text that names one of its special tokens: "
            f"{content[:80]!r}; leave it out of the data"
        )

    def _in_parts(self, before: str, content: str, after: str, encode: Encode) -> list[int]:
        """Return the ids of the content and the template around it, cut at the template's own tokens."""
        ends = [0, *(match.end() for match in self._added.finditer(before))] if self._added else [0]
        first = self._added.search(after) if self._added else None
        start = len(after) if first is None else first.start()
        return [
            *self._pretrained.encode(before[: ends[-1]], add_special_tokens=False, split_special_tokens=False),
            *encode(before[ends[-1] :] + content + after[:start]),
            *self._pretrained.encode(after[start:], add_special_tokens=False, split_special_tokens=False),
        ]

    def _as_text(self, text: str) -> list[int]:
        ids: list[int] = self._pretrained.encode(text, add_special_tokens=False, split_special_tokens=True)
        return ids


def _any_of(texts: Sequence[str]) -> re.Pattern[str] | None:
    longest_first = sorted(filter(None, texts), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
