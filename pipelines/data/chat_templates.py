"""Chat templates as training uses them: what fails is an error of the data."""

from __future__ import annotations

from actors.relay import chat_templates
from actors.relay.chat_templates import ChatTemplateError
from pipelines.data.readers import DataError


class PromptError(DataError, ChatTemplateError):
    """A model's tokenizer cannot write the prompts; the message names the model."""


class ChatTemplate(chat_templates.ChatTemplate):
    """A chat template that raises `PromptError`."""

    error = PromptError
