"""The few pieces of HTTP that the hot routes share, on bare ASGI.

Budget: 15 µs of CPU for head and tail of a request, without authentication; 3 µs on 2026-11-21, by hand (ADR 8). No
framework, no logging, no object per header. Nothing holds it yet: `bench/gateway` of the gateway issue will.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from slipway.base.callers import Caller, Scope
from slipway.base.errors import InvalidRequest, as_ours
from slipway.base.ids import new_id
from slipway.runtime.authentication import Authenticator
from slipway.runtime.http.credentials import credential_of
from slipway.runtime.http.problems import log_error
from slipway.runtime.http.routes import MAX_BODY_BYTES, body_too_large
from slipway.services.gateway.wire import error_answer

Headers = Sequence[tuple[bytes, bytes]]
_JSON: Final = (b"content-type", b"application/json")

Handler = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """One request and its answer; `caller` is there once the credential has been checked."""

    __slots__ = ("caller", "receive", "request_id", "scope", "send", "started")

    caller: Caller

    def __init__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.request_id: str = (scope.get("state") or {}).get("request_id") or new_id("req")
        self.started = False

    async def body(self) -> bytes:
        """The request's whole body; raises TooLarge beyond what any route takes."""
        for name, value in self.scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > MAX_BODY_BYTES:
                raise body_too_large(MAX_BODY_BYTES)
        message = await self.receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            content: bytes = message.get("body", b"")
            if len(content) > MAX_BODY_BYTES:
                raise body_too_large(MAX_BODY_BYTES)
            return content
        pieces: list[bytes] = []
        size_bytes = 0
        while True:
            if message["type"] != "http.request":
                raise InvalidRequest("The request ended before its body was complete.")
            piece = message.get("body", b"")
            size_bytes += len(piece)
            if size_bytes > MAX_BODY_BYTES:
                raise body_too_large(MAX_BODY_BYTES)
            pieces.append(piece)
            if not message.get("more_body", False):
                return b"".join(pieces)
            message = await self.receive()

    async def answer(self, content: bytes, headers: Headers = (), status: int = 200) -> None:
        """Sends a whole JSON answer."""
        self.started = True
        length = (b"content-length", str(len(content)).encode())
        request_id = (b"x-request-id", self.request_id.encode())
        await self.send(
            {"type": "http.response.start", "status": status, "headers": [_JSON, length, request_id, *headers]}
        )
        await self.send({"type": "http.response.body", "body": content})

    async def start(self, headers: Headers) -> None:
        """Begins an answer that is sent piece by piece."""
        self.started = True
        request_id = (b"x-request-id", self.request_id.encode())
        await self.send({"type": "http.response.start", "status": 200, "headers": [*headers, request_id]})

    async def piece(self, content: bytes, *, last: bool = False) -> None:
        """Sends a piece, waiting while the client does not take it."""
        await self.send({"type": "http.response.body", "body": content, "more_body": not last})


def hot(authenticator: Authenticator, scope: Scope, handle: Handler) -> ASGIApp:
    """An ASGI application: credential, scope, then `handle`; every error in OpenAI's envelope."""

    async def app(asgi: AsgiScope, receive: Receive, send: Send) -> None:
        exchange = Exchange(asgi, receive, send)
        try:
            exchange.caller = await authenticator.authenticate(credential_of(asgi["headers"]))
            exchange.caller.require(scope)
            await handle(exchange)
        except Exception as error:
            if exchange.started:
                raise
            log_error(error, exchange.request_id)
            status, headers, content = error_answer(as_ours(error))
            await exchange.answer(content, headers, status)

    return app
