"""The form of the server's answers, as /openapi.json shows it. `bodies` writes them."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Form(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


class SpanForm(_Form):
    """A part of the text by one writer, in characters."""

    writer: Literal["student", "teacher"]
    start: int = Field(ge=0)
    end: int = Field(ge=0)


class CallForm(_Form):
    """A call that has ended."""

    start: int = Field(ge=0, description="where its text begins in the answer's text, in characters")
    end: int = Field(ge=0)
    requested: int = Field(ge=0, description="tokens that the student asked for")
    written: int = Field(ge=0, description="tokens that the teacher wrote")
    duration_s: float
    first_token_s: float | None
    ending: Literal["completed", "end_of_text", "budget", "failed"]
    reason: str | None
    prompt_tokens: int = Field(ge=0)
    cached_tokens: int = Field(ge=0)


class ModelUsageForm(_Form):
    """Tokens of one model, over all its turns of one answer."""

    turns: int = Field(ge=0)
    prompt_tokens: int = Field(ge=0)
    cached_tokens: int = Field(ge=0)
    written_tokens: int = Field(ge=0)


class BothUsagesForm(_Form):
    """Tokens of both models."""

    student: ModelUsageForm
    teacher: ModelUsageForm


class SummaryForm(_Form):
    """The key `relay` of a choice."""

    spans: list[SpanForm]
    calls: list[CallForm]
    call_ratio: float = Field(ge=0, le=1)
    output_tokens: int = Field(ge=0)
    student_tokens: int = Field(ge=0)
    teacher_tokens: int = Field(ge=0)
    rejected_commands: int = Field(ge=0)
    usage: BothUsagesForm
    cost: float = Field(ge=0)
    teacher_alone_cost: float = Field(ge=0)
    teacher: Literal["on", "off", "away"]
    policy_version: int = Field(ge=0)
    policy_versions: list[int]
    duration_s: float
    stop_text: str | None


class TotalForm(_Form):
    """The key `relay` of the whole answer: sums over its choices."""

    cost: float = Field(ge=0)
    teacher_alone_cost: float = Field(ge=0)
    call_ratio: float = Field(ge=0, le=1)
    student_tokens: int = Field(ge=0)
    teacher_tokens: int = Field(ge=0)
    policy_version: int = Field(ge=0)
    teacher: Literal["on", "off", "away"]
    currency: str


class CachedForm(_Form):
    """OpenAI's `prompt_tokens_details`."""

    cached_tokens: int = Field(ge=0)


class UsageForm(_Form):
    """OpenAI's `usage`."""

    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)
    total_tokens: int = Field(ge=0)
    prompt_tokens_details: CachedForm


class _Answer(_Form):
    id: str
    created: int
    model: str


class _WholeAnswer(_Answer):
    usage: UsageForm
    relay: TotalForm


class _Choice(_Form):
    index: int = Field(ge=0)
    logprobs: dict[str, Any] | None = Field(description="in OpenAI's form; null if not asked for")


class _WholeChoice(_Choice):
    finish_reason: Literal["stop", "length"]
    relay: SummaryForm


class MessageForm(_Form):
    """What the assistant wrote."""

    role: Literal["assistant"]
    content: str


class ChatChoice(_WholeChoice):
    """One choice of a chat."""

    message: MessageForm


class TextChoice(_WholeChoice):
    """One choice of a completion."""

    text: str


class ChatAnswer(_WholeAnswer):
    """The answer to a conversation."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class TextAnswer(_WholeAnswer):
    """The continuation of a text."""

    object: Literal["text_completion"]
    choices: list[TextChoice]


class WriterForm(_Form):
    """The key `relay` of a chunk with text."""

    writer: Literal["student", "teacher"]


class CallBeganForm(_Form):
    """A call that begins."""

    start: int = Field(ge=0)
    requested: int = Field(ge=0)


class CallNewsForm(_Form):
    """The key `relay` of a chunk that says that a call begins or has ended."""

    call: CallBeganForm | CallForm


class _ChunkChoice(_Choice):
    finish_reason: Literal["stop", "length"] | None
    relay: WriterForm | CallNewsForm | SummaryForm | None = Field(
        None, description="who wrote the text; a call; the summary of a choice that has ended"
    )


class DeltaForm(_Form):
    """New text of a chat."""

    role: Literal["assistant"] = "assistant"
    content: str = ""


class ChatChunkChoice(_ChunkChoice):
    """News of one choice of a chat."""

    delta: DeltaForm


class TextChunkChoice(_ChunkChoice):
    """News of one choice of a completion."""

    text: str


class _Chunk(_Answer):
    usage: UsageForm | None = Field(
        None, description="in the last chunk, if `stream_options.include_usage` asks for it"
    )
    relay: TotalForm | None = Field(None, description="beside `usage`")


class ChatChunk(_Chunk):
    """A server-sent event of a chat. The event `[DONE]` follows the last one."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChatChunkChoice]


class TextChunk(_Chunk):
    """A server-sent event of a completion. The event `[DONE]` follows the last one."""

    object: Literal["text_completion"]
    choices: list[TextChunkChoice]


class ErrorForm(_Form):
    """What is wrong, and what would be right."""

    message: str = Field(min_length=1)
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(_Form):
    """An error, in OpenAI's form."""

    error: ErrorForm


class PublishedStudent(_Form):
    """The weights that all student replicas hold now."""

    path: str
    policy_version: int = Field(ge=0)
    replicas: int = Field(ge=1)
