"""From a caller's wire to a provider's and back: bodies, answers and streams. The service calls nothing else.

Where both speak the same wire everything passes, every key, and only what must change is changed. Otherwise it goes
through the neutral form (ADR 12), which refuses by name what cannot be translated.
"""

import time
from collections.abc import Mapping
from typing import Any, Final, Protocol, assert_never

from slipway.base.errors import SlipwayError, UpstreamFailed
from slipway.services.gateway import wire_anthropic_answer as anthropic_answer
from slipway.services.gateway import wire_anthropic_request as anthropic_request
from slipway.services.gateway import wire_converse as converse
from slipway.services.gateway import wire_openai_answer as openai_answer
from slipway.services.gateway import wire_openai_request as openai_request
from slipway.services.gateway.chunks import usage_body
from slipway.services.gateway.conversation import Answer, Conversation
from slipway.services.gateway.models import Tokens, WireName
from slipway.services.gateway.relay_anthropic import AnthropicRelay
from slipway.services.gateway.relay_openai import OpenAIRelay
from slipway.services.gateway.relay_translating import Reader, TranslatingRelay, Writer
from slipway.services.gateway.token_counts import anthropic_tokens, anthropic_usage, openai_tokens, provider_id
from slipway.services.gateway.wire_errors import Redact, error_body, error_status, json_bytes, named_event

__all__ = [
    "StreamRelay",
    "answer_for",
    "caller_error_event",
    "error_body",
    "error_status",
    "neutral",
    "provider_body",
    "stream_relay",
    "with_usage",
]

_CALLERS: Final = ("openai", "anthropic")


class StreamRelay(Protocol):
    """Turns a provider's events into the caller's bytes, one stream each.

    `tokens` are as counted so far, `text_length` counts characters of text, arguments and thinking, `finished` says
    whether the provider ended the answer, `provider_id` is its own name for it.
    """

    @property
    def tokens(self) -> Tokens | None: ...
    @property
    def text_length(self) -> int: ...
    @property
    def finished(self) -> bool: ...
    @property
    def provider_id(self) -> str | None: ...

    def take(self, event: dict[str, Any]) -> bytes:
        """Bytes for the caller, perhaps none; raises UpstreamFailed for an error event."""
        ...

    def end(self, tokens: Tokens, cost_usd_micros: int) -> bytes:
        """What closes a good stream."""
        ...


def stream_relay(
    caller_wire: WireName,
    provider_wire: WireName,
    *,
    model: str,
    include_usage: bool,
    request_id: str,
    redacted: Redact,
) -> StreamRelay:
    """A relay for one stream; `model` is the name it answers under, `redacted` takes secrets out of error texts."""
    if caller_wire == provider_wire == "openai":
        return OpenAIRelay(model, include_usage=include_usage, redacted=redacted)
    if caller_wire == provider_wire == "anthropic":
        return AnthropicRelay(model, request_id=request_id, redacted=redacted)
    writer: Writer
    if caller_wire == "anthropic":
        writer = anthropic_answer.StreamWriter(model=model, request_id=request_id)
    else:
        writer = openai_answer.StreamWriter(
            model=model, request_id=request_id, created=int(time.time()), include_usage=include_usage
        )
    return TranslatingRelay(
        _reader(provider_wire), writer, caller_wire=caller_wire, request_id=request_id, redacted=redacted
    )


def _reader(wire: WireName) -> Reader:
    if wire == "openai":
        return openai_answer.StreamReader()
    if wire == "anthropic":
        return anthropic_answer.StreamReader()
    if wire == "converse":
        return converse.StreamReader()
    assert_never(wire)


def provider_body(
    request_wire: WireName,
    provider_wire: WireName,
    body: Mapping[str, Any],
    model_id: str,
    *,
    stream: bool,
    max_tokens: int | None,
    conversation: Conversation | None = None,
) -> dict[str, Any]:
    """The body for the provider; raises InvalidParameter naming what cannot be translated.

    `max_tokens` is what the answer is held to when the caller set no bound; `conversation` is what `neutral` made of
    the body, where it has been read before.
    """
    if request_wire == provider_wire:
        written = {**body, "model": model_id}
    else:
        written = _written(provider_wire, conversation or neutral(request_wire, body), model_id)
    if provider_wire == "converse":
        return converse.capped(written, max_tokens)
    capped = written.get("max_tokens") is not None or written.get("max_completion_tokens") is not None
    given = body.get("max_tokens") is not None or body.get("max_completion_tokens") is not None
    if provider_wire == "anthropic" and not given:
        written["max_tokens"] = max_tokens or anthropic_request.DEFAULT_MAX_TOKENS
    elif not capped and max_tokens is not None:
        written["max_completion_tokens"] = max_tokens
    _stream_flags(provider_wire, written, stream=stream)
    return written


def _stream_flags(wire: WireName, body: dict[str, Any], *, stream: bool) -> None:
    options = body.pop("stream_options", None)
    if not stream:
        body.pop("stream", None)
        return
    body["stream"] = True
    if wire == "openai":
        body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}


def neutral(wire: WireName, body: Mapping[str, Any]) -> Conversation:
    """A caller's body in the neutral form; raises InvalidParameter naming what has no place in it."""
    assert wire in _CALLERS, "no caller speaks Converse"
    return anthropic_request.request_read(body) if wire == "anthropic" else openai_request.request_read(body)


def _written(wire: WireName, conversation: Conversation, model_id: str) -> dict[str, Any]:
    if wire == "openai":
        return openai_request.request_write(conversation, model_id)
    if wire == "anthropic":
        return anthropic_request.request_write(conversation, model_id)
    return converse.request_write(conversation, model_id)


def answer_for(
    caller_wire: WireName, provider_wire: WireName, body: dict[str, Any], *, model: str, request_id: str
) -> tuple[dict[str, Any], Tokens | None, str | None]:
    """The caller's body under the model's name here, tokens as counted, the provider's id.

    Raises UpstreamFailed when it is no answer.
    """
    if caller_wire == provider_wire:
        return _renamed(caller_wire, body, model)
    answer = _answer(provider_wire, body)
    if caller_wire == "anthropic":
        written = anthropic_answer.answer_write(answer, model=model, request_id=request_id)
    else:
        created = body.get("created")
        written = openai_answer.answer_write(
            answer,
            model=model,
            request_id=request_id,
            created=created if isinstance(created, int) else int(time.time()),
        )
    return written, answer.tokens, provider_id(answer.id)


def caller_error_event(wire: WireName, error: SlipwayError, request_id: str) -> bytes:
    """The error as an event of a caller's stream."""
    body = error_body(wire, error, request_id)
    return named_event(body) if wire == "anthropic" else b"data: " + json_bytes(body) + b"\n\n"


def _answer(wire: WireName, body: dict[str, Any]) -> Answer:
    if wire == "openai":
        return openai_answer.answer_read(body)
    return anthropic_answer.answer_read(body) if wire == "anthropic" else converse.answer_read(body)


def _renamed(wire: WireName, body: dict[str, Any], model: str) -> tuple[dict[str, Any], Tokens | None, str | None]:
    listed, tokens = ("content", anthropic_tokens) if wire == "anthropic" else ("choices", openai_tokens)
    parts = body.get(listed)
    if not isinstance(parts, list) or (not parts and wire == "openai"):
        raise UpstreamFailed("The model's provider answered with something that is no answer.")
    body["model"] = model
    return body, tokens(body.get("usage")), provider_id(body.get("id"))


def with_usage(caller_wire: WireName, body: dict[str, Any], tokens: Tokens, cost_usd_micros: int) -> dict[str, Any]:
    """The body with what was counted and what it costs; what the provider said of usage besides stays."""
    given = body.get("usage")
    given = given if isinstance(given, dict) else {}
    if caller_wire == "anthropic":
        ours = anthropic_usage(tokens)
        counted = {**ours, **given} if anthropic_tokens(given) == tokens else {**given, **ours}
        body["usage"] = {**counted, "cost_usd_micros": cost_usd_micros}
    else:
        body["usage"] = usage_body(tokens, cost_usd_micros, given)
    return body
