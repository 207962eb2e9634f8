"""`POST /v1/chat/completions` and `POST /v1/messages`, plain and streamed, on bare ASGI.

Budget: what `hot_http` states, and 15 µs of CPU a stream event, held by `bench/gateway`. An event is parsed once and
written once, and a slow client holds back its own provider only. Whoever stops reading ends the call: the cancellation
that the HTTP layer sends closes the stream of events, and that closes the provider's connection.
"""

from contextlib import aclosing
from functools import partial
from typing import Final

from slipway.base.errors import as_ours
from slipway.runtime.http.problems import log_error
from slipway.services.gateway.hot_http import Exchange, Handler
from slipway.services.gateway.models import ChatRequest, Headers
from slipway.services.gateway.relay import caller_error_event
from slipway.services.gateway.service import Gateway
from slipway.services.gateway.wire import chat_request, json_object
from slipway.services.gateway.wire_anthropic_headers import asked_headers
from slipway.services.gateway.wire_anthropic_request import anthropic_request
from slipway.services.gateway.wire_errors import json_bytes

_STREAM_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx in front would hold events back otherwise
)


def chat_handler(gateway: Gateway) -> Handler:
    """Answers OpenAI's chat completions."""

    async def handle(exchange: Exchange) -> None:
        await _answered(gateway, exchange, await exchange.read(_chat_read))

    return handle


def messages_handler(gateway: Gateway) -> Handler:
    """Answers Anthropic's messages."""

    async def handle(exchange: Exchange) -> None:
        asked = asked_headers(exchange.scope["headers"])
        await _answered(gateway, exchange, await exchange.read(partial(_messages_read, asked=asked)))

    return handle


def count_tokens_handler(gateway: Gateway) -> Handler:
    """Answers how many tokens a message would have."""

    async def handle(exchange: Exchange) -> None:
        asked = asked_headers(exchange.scope["headers"])
        request = await exchange.read(partial(_messages_read, asked=asked, counting=True))
        counted, estimated = await gateway.count_tokens(exchange.caller, exchange.terms, exchange.request_id, request)
        note = ((b"x-slipway-estimated", b"true"),) if estimated else ()
        await exchange.answer(b'{"input_tokens":%d}' % counted, note)

    return handle


def _chat_read(content: bytes) -> ChatRequest:
    return chat_request(json_object(content), len(content))


def _messages_read(content: bytes, *, asked: Headers, counting: bool = False) -> ChatRequest:
    return anthropic_request(json_object(content), len(content), asked, counting=counting)


async def _answered(gateway: Gateway, exchange: Exchange, request: ChatRequest) -> None:
    if request.stream:
        await _stream(gateway, exchange, request)
        return
    body, cost_usd_micros = await gateway.complete(exchange.caller, exchange.terms, exchange.request_id, request)
    await exchange.answer(json_bytes(body), ((b"x-slipway-cost-usd-micros", b"%d" % cost_usd_micros),))


async def _stream(gateway: Gateway, exchange: Exchange, request: ChatRequest) -> None:
    async with aclosing(gateway.stream(exchange.caller, exchange.terms, exchange.request_id, request)) as pieces:
        # The first event before the head: until it is there an error still has a status of its own.
        first = await anext(pieces)
        await exchange.start(_STREAM_HEADERS)
        try:
            await exchange.piece(first)
            async for piece in pieces:
                await exchange.piece(piece)
        except Exception as error:  # noqa: BLE001 - a defect of ours must not end the stream in silence
            log_error(error, exchange.request_id)
            await exchange.piece(caller_error_event(request.wire, as_ours(error), exchange.request_id), last=True)
            return
        await exchange.piece(b"", last=True)
