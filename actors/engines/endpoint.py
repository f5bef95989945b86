"""A teacher behind HTTP: where it is, and in which of three ways it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from cluster.errors import RunError
from cluster.settings import Settings, name_with_home

_SCHEMES = ("http://", "https://")


class UnsuitableServerError(RunError):
    """A server cannot be used as a teacher; the message names it and says what it lacks."""


class Mode(StrEnum):
    """How a context goes to the server, and how the answer comes back."""

    IDS = "ids"
    """token ids both ways, by `/completions`; the server must return ids, as vLLM does"""
    COMPLETIONS = "completions"
    """the rendered prompt and the answer so far as one text, by `/completions`"""
    CHAT = "chat"
    """messages, the last of which is the answer so far, by `/chat/completions`; the server must continue that message"""


class EndpointSettings(Settings):
    """An OpenAI-compatible server with a teacher."""

    url: str = Field(description="base address of an OpenAI-compatible server, such as http://localhost:8000/v1")
    model: str = Field(min_length=1, description="the model's name on that server")
    api_key_env: str | None = Field(
        None, description="name of the environment variable that holds the server's API key; none is sent if empty"
    )
    tokenizer: str | None = Field(
        None,
        min_length=1,
        description="folder or hub name with the teacher's tokenizer; the student's stands for it if empty",
    )
    mode: Mode | None = Field(
        None, description="how the server is asked; if empty, the best way that it offers is found at the start"
    )

    @model_validator(mode="after")
    def _without_secrets(self) -> EndpointSettings:
        if problem := endpoint_problem(self.url, self.api_key_env):
            raise ValueError(problem)
        return self

    @property
    def base(self) -> str:
        """The address without a slash at its end."""
        return self.url.rstrip("/")


def endpoint_problem(url: str, api_key_env: str | None) -> str | None:
    """Return what is wrong with an address or with the name of a key's variable; None if nothing is.

    The text never has the value of `api_key_env`, because that may be a key by mistake, nor a password in the address.
    """
    host = url.partition("://")[2].partition("/")[0]
    if "@" in url or "?" in url or "#" in url:
        return "url should have no user, password or query: name the variable with the key in api_key_env"
    if not url.startswith(_SCHEMES) or not host:
        return f"url ({url!r}) should begin with http:// or https:// and a host, as in http://localhost:8000/v1"
    if api_key_env is not None and not _is_variable(api_key_env):
        return "api_key_env should be the name of an environment variable, in capitals such as TEACHER_API_KEY, and never the key"
    return None


def _is_variable(name: str) -> bool:
    return name.isascii() and name.isidentifier() and name == name.upper()


def _described(key: str) -> str | None:
    return EndpointSettings.model_fields[key].description


class PerhapsServed(Settings):
    """Where a teacher is, if a server has it already. Without a `url` all of it is empty."""

    url: str | None = Field(None, description=_described("url"))
    model: str | None = Field(None, min_length=1, description=_described("model"))
    api_key_env: str | None = Field(None, description=_described("api_key_env"))
    tokenizer: Annotated[str, AfterValidator(name_with_home)] | None = Field(
        None, min_length=1, description=_described("tokenizer")
    )
    mode: Mode | None = Field(None, description=_described("mode"))

    @property
    def endpoint(self) -> EndpointSettings | None:
        """The server that has the teacher; None if there is none."""
        if self.url is None or self.model is None:
            return None
        return EndpointSettings(
            url=self.url, model=self.model, api_key_env=self.api_key_env, tokenizer=self.tokenizer, mode=self.mode
        )

    @model_validator(mode="after")
    def _whole_server(self) -> Self:
        if self.url is None:
            of_server = [key for key in ("model", "api_key_env", "tokenizer", "mode") if getattr(self, key) is not None]
            if of_server:
                raise ValueError(f"{', '.join(of_server)} should be empty without url: a server is asked with them")
            return self
        if self.model is None:
            raise ValueError("model is required with url: the model's name on that server")
        if problem := endpoint_problem(self.url, self.api_key_env):
            raise ValueError(problem)
        return self


@dataclass(frozen=True, slots=True)
class Wire:
    """How a server is asked, as found at the start."""

    mode: Mode = Mode.IDS
    extended: bool = True
    """whether the server takes sampling parameters beyond OpenAI's, such as top_k and repetition_penalty"""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call may take, and what is done about failures."""

    timeout_s: float = 120.0
    """of a call, its retries included"""
    max_retries: int = 8
    backoff_s: float = 0.5
    """pause before the first retry; it doubles with each, and a random part of up to a half is left out"""
    longest_backoff_s: float = 30.0
    failures_to_open: int = 5
    """after this many failed calls in a row, calls fail at once"""
    open_s: float = 15.0
    """for this long; then one call tries again"""


PATIENT = Patience()
THROUGH_IDS = Wire()
