"""Reads OpenAI requests with vLLM's own protocol classes. It is the only module that knows these classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.exceptions import VLLMClientError

from actors.engines.base import Message
from actors.relay.handoff import RelayPrompt
from actors.relay.seeds import derived_seed
from actors.serving.errors import ApiError, bad
from actors.serving.prompts import Prompts, check_room, session_of_ids, session_of_messages
from actors.serving.relay_keys import RelayKeys, as_api_error, read_relay_keys
from actors.serving.request import AnswerRequest, ModelKind
from actors.serving.settings import ServerSettings
from actors.settings import SamplingSettings

MOST_CHOICES = 128
MOST_STOPS = 4
SEEDS = range(-9 * 10**18, 9 * 10**18 + 1)
"""vLLM takes 64 bits. Both bounds are exact as floats, too, because some readers of JSON have no other numbers"""
_ROLES = ("system", "developer", "user", "assistant")
_USED = {
    "model",
    "n",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "top_k",
    "logprobs",
    "max_tokens",
    "relay",
}
_READ_HERE = {"relay", "stop"}
USED_IN_CHATS = _USED | {"messages", "max_completion_tokens", "top_logprobs"}
USED_IN_COMPLETIONS = _USED | {"prompt"}
WITHOUT_EFFECT = {
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "request_id",
    "session_id",
    "parallel_tool_calls",
    "include_reasoning",
}
"""fields that do not change the text of an answer"""
_NEUTRAL: dict[str, object] = {
    "repetition_penalty": 1.0,
    "tool_choice": "none",
    "response_format": {"type": "text"},
    "best_of": 1,
    "modalities": ["text"],
}
"""values that ask for nothing, where they are no default"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that was read."""

    is_chat: bool
    model: str
    kind: ModelKind
    choices: tuple[AnswerRequest, ...]
    prompts: int
    """different prompts; each has as many choices as the others"""
    streams: bool
    include_usage: bool
    logprobs: bool


class RequestReader:
    """Checks requests against the server's settings. All methods raise `ApiError`."""

    def __init__(self, settings: ServerSettings, prompts: Prompts) -> None:
        self._settings, self._prompts = settings, prompts

    def models(self) -> dict[str, ModelKind]:
        """Return the models by name."""
        name = self._settings.name
        kinds = {name: ModelKind.RELAY, f"{name}/student": ModelKind.STUDENT}
        return kinds if self._settings.teacher is None else kinds | {f"{name}/teacher": ModelKind.TEACHER}

    @property
    def tokens(self) -> int:
        """How many tokens the student's vocabulary has."""
        return self._prompts.tokens

    def chat(self, body: object) -> Asked:
        """Read a body of /v1/chat/completions."""
        given = _object(body)
        messages = _messages(given.get("messages"))
        request = _validated(
            ChatCompletionRequest, given | {"messages": [{"role": "user", "content": "1"}]}, USED_IN_CHATS
        )
        if request.top_logprobs:
            raise bad("top_logprobs", "top_logprobs should be 0: only the log-prob of the sampled token is known")
        limits = [_max_tokens(name, given.get(name)) for name in ("max_completion_tokens", "max_tokens")]
        asked = next(filter(None, limits), None)
        prompt, session = self._prompts.chat(messages), session_of_messages(messages)
        return self._asked(request, given, [(prompt, session)], asked, logprobs=bool(request.logprobs), is_chat=True)

    def completion(self, body: object) -> Asked:
        """Read a body of /v1/completions."""
        given = _object(body)
        asked = _prompts(given.get("prompt"))
        request = _validated(CompletionRequest, given, USED_IN_COMPLETIONS)
        if request.logprobs:
            raise bad("logprobs", "logprobs should be 0: only the log-prob of the sampled token is known")
        prompts = [self._prompts.text(one) if isinstance(one, str) else self._prompts.ids(one) for one in asked]
        sessions = [(prompt, session_of_ids(prompt.student_ids)) for prompt in prompts]
        return self._asked(
            request,
            given,
            sessions,
            _max_tokens("max_tokens", request.max_tokens),
            logprobs=request.logprobs is not None,
            is_chat=False,
        )

    def _asked(
        self,
        request: ChatCompletionRequest | CompletionRequest,
        given: Mapping[str, Any],
        prompts: Sequence[tuple[RelayPrompt, str]],
        max_tokens: int | None,
        *,
        logprobs: bool,
        is_chat: bool,
    ) -> Asked:
        settings = self._settings
        model = request.model or settings.name
        kind = self.models().get(model)
        if kind is None:
            known = ", ".join(self.models())
            message = f"the model {model!r:.80} is not served here; there are {known}"
            raise ApiError(404, message, param="model", code="model_not_found")
        keys = read_relay_keys(given.get("relay"))
        if kind is ModelKind.TEACHER:
            _check_teacher_alone(keys, model)
        if kind is ModelKind.TEACHER or (kind is ModelKind.RELAY and keys.teacher == "on"):
            self._check_remote(model, is_chat, logprobs)
        limits = settings.limits_in_force
        calls = limits.max_calls if keys.max_calls is None else min(keys.max_calls, limits.max_calls)
        where = "messages" if is_chat else "prompt"
        for prompt, _ in prompts:
            if kind is ModelKind.TEACHER:
                check_room(len(prompt.teacher_ids), settings.teacher_context_tokens, "teacher", where)
            else:
                check_room(len(prompt.student_ids), settings.student.engine.max_model_len, "student", where)
        n = 1 if request.n is None else request.n
        if not 1 <= n <= MOST_CHOICES:
            raise bad("n", f"n is {n}, but should be from 1 to {MOST_CHOICES}")
        first = AnswerRequest(
            kind=kind,
            prompt=prompts[0][0],
            max_tokens=min(max_tokens or limits.max_new_tokens, limits.max_new_tokens),
            max_calls=calls if kind is ModelKind.RELAY and keys.teacher == "on" else 0,
            student_sampling=_sampling(settings.sampling.student, given),
            teacher_sampling=_sampling(settings.sampling.teacher, given),
            stops=_stops(given.get("stop")),
            want_logprobs=logprobs,
            max_call_ratio=keys.max_call_ratio,
            max_cost=None if keys.max_cost is None else keys.max_cost / (len(prompts) * n),
            shows_commands=keys.show_commands,
        )
        count = len(prompts) * n
        if count > MOST_CHOICES:
            raise bad("prompt", f"{len(prompts)} prompts with n {n} are {count} choices; most are {MOST_CHOICES}")
        shares = iter(_shares(keys.max_teacher_tokens, count))
        choices = [
            replace(first, prompt=prompt, session=session, seed=_seed(request.seed, i), max_teacher_tokens=next(shares))
            for prompt, session in prompts
            for i in range(n)
        ]
        streams = bool(request.stream)
        options = request.stream_options
        return Asked(
            is_chat=is_chat,
            model=model,
            kind=kind,
            choices=tuple(choices),
            prompts=len(prompts),
            streams=streams,
            include_usage=streams and options is not None and bool(options.include_usage),
            logprobs=logprobs,
        )

    def _check_remote(self, model: str, is_chat: bool, logprobs: bool) -> None:
        """Raise `ApiError` if a teacher behind a url cannot do what is asked."""
        if self._settings.teacher is None or self._settings.teacher.url is None:
            return
        if logprobs:
            raise bad(
                "logprobs", f"logprobs are not known of the teacher of {model}, which is behind a url: leave it out"
            )
        if not is_chat and self._prompts.teacher_takes_chats_only:
            raise bad("prompt", f"the teacher of {model} takes conversations only: ask /v1/chat/completions")


def _object(body: object) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise ApiError(400, f"the body is {type(body).__name__}, but should be a JSON object")
    return body


def _validated(model: type[Any], given: dict[str, Any], used: set[str]) -> Any:
    """Return the request. A field that would change the answer but is not supported is refused by its name."""
    known: dict[str, Any] = model.model_fields
    for name, value in given.items():
        if name in used or name in WITHOUT_EFFECT or value is None:
            continue
        if name not in known and name not in _NEUTRAL:
            near = get_close_matches(name, used, n=1)
            raise bad(
                f"{name:.80}", f"{name:.80} is not a known field" + (f": did you mean {near[0]}?" if near else "")
            )
        default = known[name].get_default(call_default_factory=True) if name in known else None
        neutral = [default, *([_NEUTRAL[name]] if name in _NEUTRAL else [])]
        if value not in neutral and (value or any(neutral)):
            raise bad(name, f"{name} is not supported by this server: leave it out", "unsupported_parameter")
    fields = {
        name: value
        for name, value in given.items()
        if name in used and name not in _READ_HERE and value is not None  # null asks for the default
    }
    try:
        request: BaseModel = model.model_validate(fields, strict=True)
    except ValidationError as error:
        raise as_api_error(error, "") from error
    except VLLMClientError as error:
        raise ApiError(400, str(error), param=getattr(error, "parameter", None)) from error
    except (TypeError, ValueError) as error:
        raise ApiError(400, f"the request is not valid: {error}") from error
    return request


def _messages(value: object) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise bad("messages", "messages should be a list of at least one message")
    return [_message(message, f"messages.{i}") for i, message in enumerate(value)]


def _message(message: object, where: str) -> Message:
    if not isinstance(message, dict):
        raise bad(where, f"{where} is {message!r:.80}, but should be an object with role and content")
    role, content = message.get("role"), message.get("content")
    if role not in _ROLES:
        raise bad(f"{where}.role", f"{where}.role is {role!r:.80}, but should be one of {', '.join(_ROLES)}")
    for name in ("tool_calls", "function_call", "audio"):
        if message.get(name):
            raise bad(f"{where}.{name}", f"{where}.{name} is not supported by this server", "unsupported_parameter")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list) or not parts:
        raise bad(f"{where}.content", f"{where}.content should be text, or a list of text parts")
    texts: list[str] = []
    for part in parts:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise bad(f"{where}.content", f"{where}.content has a part that is no text: only text is supported")
        texts.append(as_text(part["text"], f"{where}.content"))
    return Message("system" if role == "developer" else role, "".join(texts))


def _prompts(value: object) -> list[str | list[int]]:
    if isinstance(value, str):
        return [as_text(value, "prompt")]
    if isinstance(value, list) and value:
        if all(type(one) is int and one >= 0 for one in value):
            return [value]
        if all(isinstance(one, str) for one in value):
            return [as_text(one, "prompt") for one in value]
        if all(
            isinstance(one, list) and one and all(type(token) is int and token >= 0 for token in one) for one in value
        ):
            return list(value)
    raise bad("prompt", "prompt should be a text, a list of token ids, or a list of these")


def as_text(text: str, where: str) -> str:
    """Return the text. Raises `ApiError`, which names the key `where`, if it is not Unicode."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise bad(where, f"{where} has half of a surrogate pair, which is no text: send whole characters") from error
    return text


def _max_tokens(name: str, value: object) -> int | None:
    if value is not None and (type(value) is not int or value < 1):
        raise bad(name, f"{name} is {value!r:.80}, but should be a number of at least 1")
    return value


def _sampling(default: SamplingSettings, given: Mapping[str, Any]) -> SamplingSettings:
    values = {name: given[name] for name in ("temperature", "top_p", "top_k") if given.get(name) is not None}
    if values.get("top_k") == 0:
        values["top_k"] = -1
    try:
        return SamplingSettings.model_validate(default.model_dump() | values)
    except ValidationError as error:
        raise as_api_error(error, "") from error


def _stops(stop: object) -> tuple[str, ...]:
    stops: list[Any] = [] if stop is None else stop if isinstance(stop, list) else [stop]
    if len(stops) > MOST_STOPS or not all(isinstance(one, str) and one for one in stops):
        raise bad(
            "stop", f"stop is {stop!r:.80}, but should be a text or at most {MOST_STOPS} texts, and none of them empty"
        )
    return tuple(as_text(one, "stop") for one in stops)


def _seed(seed: int | None, choice: int) -> int | None:
    if seed is None:
        return None
    if seed not in SEEDS:
        raise bad("seed", f"seed is {seed}, but should be from {SEEDS[0]} to {SEEDS[-1]}")
    return derived_seed(seed, choice)


def _check_teacher_alone(keys: RelayKeys, model: str) -> None:
    """Raise `ApiError` for a key that has no meaning where the teacher writes the whole answer."""
    given: dict[str, object] = {"teacher": keys.teacher if keys.teacher == "off" else None}
    given |= {"max_call_ratio": keys.max_call_ratio, "max_calls": keys.max_calls}
    for name, value in given.items():
        if value is not None:
            raise bad(f"relay.{name}", f"relay.{name} is {value}, but {model} is the teacher alone: leave it out")


def _shares(tokens: int | None, choices: int) -> list[int | None]:
    """Return each choice's part of a request's tokens. The first ones get one more if it cannot be divided."""
    if tokens is None:
        return [None] * choices
    return [tokens // choices + (i < tokens % choices) for i in range(choices)]
