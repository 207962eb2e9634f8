"""`POST /v1/chat/completions`, plain and streamed, on bare ASGI.

Budget: what `hot_http` states, and 15 µs of CPU a stream event; 8 µs on 2026-11-21, by hand (ADR 8), without the
provider's connection. A chunk is parsed once and written once, and a slow client holds back its own provider only.
Whoever stops reading ends the call: the cancellation that the HTTP layer sends closes the stream of chunks, and that
closes the provider's connection.
"""

from contextlib import aclosing
from typing import Final

from slipway.base.errors import as_ours
from slipway.runtime.http.problems import log_error
from slipway.services.gateway.hot_http import Exchange, Handler
from slipway.services.gateway.models import ChatRequest
from slipway.services.gateway.service import Gateway
from slipway.services.gateway.wire import DONE, chat_request, dumped, error_body, event, json_object

_STREAM_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx in front would hold events back otherwise
)


def chat_handler(gateway: Gateway) -> Handler:
    """Answers chat completions with `gateway`."""

    async def handle(exchange: Exchange) -> None:
        request = chat_request(json_object(await exchange.body()))
        if request.stream:
            await _stream(gateway, exchange, request)
            return
        body, cost_usd_micros = await gateway.complete(exchange.caller, exchange.request_id, request)
        cost = (b"x-slipway-cost-usd-micros", str(cost_usd_micros).encode())
        await exchange.answer(dumped(body), (cost,))

    return handle


async def _stream(gateway: Gateway, exchange: Exchange, request: ChatRequest) -> None:
    async with aclosing(gateway.stream(exchange.caller, exchange.request_id, request)) as chunks:
        # The first chunk before the head: until it is there an error still has a status of its own.
        first = await anext(chunks)
        await exchange.start(_STREAM_HEADERS)
        try:
            await exchange.piece(event(first))
            async for chunk in chunks:
                await exchange.piece(event(chunk))
        except Exception as error:  # noqa: BLE001 - a defect of ours must not end the stream in silence
            log_error(error, exchange.request_id)
            await exchange.piece(event(error_body(as_ours(error))), last=True)
            return
        await exchange.piece(DONE, last=True)
