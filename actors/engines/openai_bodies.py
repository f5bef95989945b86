"""The requests of the OpenAI protocol: one turn as the JSON that a server takes."""

from __future__ import annotations

from collections.abc import Sequence

from actors.engines.base import Conversation, EngineError, GenerationRequest, Message
from actors.engines.endpoint import Mode, Wire

COMPLETIONS, CHAT = "completions", "chat/completions"
"""paths below the server's address"""

_LEAST_LOGIT_BIAS = -100.0
"""the least value that servers accept; it divides a token's odds by e^100, which practically excludes it"""
_LARGEST_PLAIN_SEED = 2**31 - 1

Body = dict[str, object]


def body_of(request: GenerationRequest, model: str, wire: Wire, stream: bool) -> tuple[str, Body]:
    """Return path and body of a turn. Raises `EngineError` if the request cannot be asked in this way."""
    body: Body = {"model": model, "max_tokens": request.max_tokens, **_sampling(request, wire)}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    if wire.mode is Mode.IDS:
        return COMPLETIONS, body | _by_ids(request)
    conversation = request.conversation
    if conversation is None:
        raise EngineError(
            f"a teacher that is asked by {wire.mode} needs the conversation as text, and got token ids alone"
        )
    if request.stop_text is not None or request.excluded:
        raise EngineError(f"a teacher that is asked by {wire.mode} takes no stop text and excludes no tokens")
    if wire.mode is Mode.COMPLETIONS:
        text: Body = {"prompt": conversation.rendered + conversation.answer}
        return COMPLETIONS, body | text | ({"add_special_tokens": False} if wire.extended else {})
    return CHAT, body | chat_of(conversation, wire.extended)


def chat_of(conversation: Conversation, extended: bool) -> Body:
    """Return the fields with which a chat server continues the conversation, and does not begin a new turn.

    Without the extended fields, servers that continue at all do so because the last message is the assistant's.
    """
    messages = [_message(message) for message in conversation.messages]
    begun = bool(conversation.answer)
    if begun:
        messages.append({"role": "assistant", "content": conversation.answer})
    fields: Body = {"messages": messages}
    if extended:
        fields |= {
            "add_generation_prompt": not begun,
            "continue_final_message": begun,
            "chat_template_kwargs": {"enable_thinking": False},
        }
    return fields


def _message(message: Message) -> dict[str, str]:
    return {"role": message.role, "content": message.content}


def _sampling(request: GenerationRequest, wire: Wire) -> Body:
    """Return all sampling parameters; those left out would come from the model's generation config on the server."""
    sampling = request.sampling
    fields: Body = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }
    if wire.extended:
        fields |= {"top_k": max(sampling.top_k, 0), "min_p": 0.0, "repetition_penalty": 1.0}
    elif sampling.top_k > 0:
        raise EngineError(f"the teacher's server takes no top_k, so sampling.top_k ({sampling.top_k}) should be -1")
    if request.seed is not None and not sampling.greedy:
        fields["seed"] = request.seed if wire.extended else request.seed & _LARGEST_PLAIN_SEED
    return fields


def _by_ids(request: GenerationRequest) -> Body:
    prompt: Sequence[int] = list(map(int, request.prompt_ids))
    fields: Body = {"prompt": prompt, "return_token_ids": True, "add_special_tokens": False}
    if request.stop_text is not None:
        fields |= {"stop": [request.stop_text], "include_stop_str_in_output": True}
    if request.excluded:
        fields["logit_bias"] = {str(token): _LEAST_LOGIT_BIAS for token in request.excluded}
    return fields
