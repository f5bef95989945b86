"""Reads the file of questions. All of it is checked before the first request, and each bad row is named by its line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from pipelines.data.parsing import RowError, after_hashes, written

_MOST_NAMED = 20
"""bad rows that are named one by one"""
_KINDS = ("question", "messages", "prompt")
_OWN = {*_KINDS, "id", "answer"}

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]


class InputError(ValueError):
    """The questions, or what belongs to them, cannot be used. The message says why, and what to do."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class _Message(_Strict):
    role: Literal["system", "user", "assistant"]
    content: str


class RelayKeys(_Strict):
    """What a request asks of the relay."""

    max_teacher_tokens: Count | None = None
    max_call_ratio: Share | None = None
    max_calls: Count | None = None
    max_cost: Annotated[float, Field(ge=0.0)] | None = None
    teacher: Literal["on", "off"] | None = None
    show_commands: bool | None = None


class RequestKeys(BaseModel):
    """What a row, or the command, may say about how its answer is made."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)

    temperature: Annotated[float, Field(ge=0.0)] | None = None
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    top_k: int | None = None
    seed: int | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: str | list[str] | None = None
    relay: RelayKeys | None = None

    def body(self) -> dict[str, Any]:
        """Return the keys that are set."""
        return self.model_dump(exclude_none=True)


class _Row(RequestKeys):
    question: Annotated[str, Field(min_length=1)] | None = None
    messages: Annotated[list[_Message], Field(min_length=1)] | None = None
    prompt: Annotated[str, Field(min_length=1)] | None = None
    id: str | int | None = None
    answer: JsonValue = None


@dataclass(frozen=True, slots=True)
class Row:
    """One question."""

    line: int
    """in the file, from 1"""
    id: str | int | None
    path: str
    """of the endpoint"""
    body: Mapping[str, Any]
    """of the request, without the model"""
    gold: str | None
    """the right answer, if the row has one"""


@dataclass(frozen=True, slots=True)
class Questions:
    """A whole file of questions."""

    rows: tuple[Row, ...]
    digest: str
    """of the file's bytes"""
    unused: tuple[str, ...]
    """keys of rows that mean nothing here"""


def read_questions(path: Path, defaults: RequestKeys, suffix: str = "") -> Questions:
    """Return the questions of a JSONL file. A row's own keys win over `defaults`; `suffix` follows each `question`.

    Raises `InputError`, which names every bad row.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    rows: list[Row] = []
    wrong: list[str] = []
    unused: dict[str, None] = {}
    lines: dict[str | int, int] = {}
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            data, read = _read(line)
            row = _row(number, read, defaults, suffix)
            if row.id is not None and lines.setdefault(row.id, number) != number:
                raise InputError(f"id {row.id!r} is that of line {lines[row.id]}, too")
        except InputError as error:
            wrong.append(f"{path}, line {number}: {error}")
            continue
        rows.append(row)
        unused |= dict.fromkeys(sorted(data.keys() - RequestKeys.model_fields.keys() - _OWN))
    if wrong:
        more = [f"and {len(wrong) - _MOST_NAMED} more"] if len(wrong) > _MOST_NAMED else []
        raise InputError("\n".join([*wrong[:_MOST_NAMED], *more]))
    if not rows:
        raise InputError(f'{path} has no rows: write one JSON object a line, such as {{"question": "…"}}')
    return Questions(tuple(rows), sha256(content).hexdigest(), tuple(unused))


def _read(line: bytes) -> tuple[dict[str, Any], _Row]:
    try:
        data = json.loads(line.decode("utf-8-sig"))
        if not isinstance(data, dict):
            raise InputError(f"should be a JSON object, not {type(data).__name__}")
        json.dumps(data, ensure_ascii=False).encode()
        return data, _Row.model_validate(data)
    except UnicodeEncodeError:
        raise InputError("has half of a character (a lone surrogate): text was cut inside it") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{'.'.join(map(str, first['loc']))}: {first['msg'][0].lower()}{first['msg'][1:]}") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"is not JSON: {error}") from None


def _row(line: int, row: _Row, defaults: RequestKeys, suffix: str) -> Row:
    given = [kind for kind in _KINDS if getattr(row, kind) is not None]
    if len(given) != 1:
        said = f"has {' and '.join(given)}" if given else "has none"
        raise InputError(f"needs one of question, messages and prompt, and {said}")
    keys = RequestKeys.model_validate(row.model_dump(exclude_unset=True))
    body = _merged(defaults.body(), keys.body())
    if row.prompt is not None:
        return Row(line, row.id, "v1/completions", {"prompt": row.prompt, **body}, _gold(row.answer))
    if row.messages is not None:
        messages = [message.model_dump() for message in row.messages]
    else:
        messages = [{"role": "user", "content": f"{row.question}{suffix}"}]
    return Row(line, row.id, "v1/chat/completions", {"messages": messages, **body}, _gold(row.answer))


def _merged(defaults: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    both = {**defaults, **own}
    if "relay" in defaults and "relay" in own:
        both["relay"] = {**defaults["relay"], **own["relay"]}
    return both


def _gold(answer: object) -> str | None:
    """Return the right answer. That of a solution with `####`, as GSM8K has them, is what follows the mark."""
    if answer is None:
        return None
    try:
        return after_hashes(answer) if isinstance(answer, str) and "####" in answer else written(answer)
    except RowError as error:
        raise InputError(f"answer: {error}") from None
