"""The few pieces of HTTP that the hot routes share, on bare ASGI.

Budget: 15 µs of CPU for head and tail of a request, held with the whole path by `bench/gateway`. No framework, no
logging, no object per header. Order of the path: credential, scope, rate limits, body; the rest is the service's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from slipway.base.callers import Caller, Scope
from slipway.base.clock import Clock
from slipway.base.errors import InvalidRequest, SlipwayError, as_ours
from slipway.base.ids import new_id
from slipway.runtime.authentication import Authenticator
from slipway.runtime.http.cancellation import BODY_PAUSE_S
from slipway.runtime.http.credentials import credential_of
from slipway.runtime.http.problems import headers_of, log_error
from slipway.runtime.http.routes import MAX_BODY_BYTES, body_too_large
from slipway.services.gateway.admission import Admission, Terms, limit_headers, refused
from slipway.services.gateway.models import WireName
from slipway.services.gateway.nesting import LONG_BODY_BYTES
from slipway.services.gateway.wire_errors import error_body, error_status, json_bytes

Read = TypeVar("Read")
Headers = Sequence[tuple[bytes, bytes]]
_JSON: Final = (b"content-type", b"application/json")

Handler = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """One request and its answer; `caller` and `terms` are there once credential and rates have been checked."""

    __slots__ = ("caller", "limits", "receive", "request_id", "scope", "send", "started", "terms", "wire")

    caller: Caller
    terms: Terms

    def __init__(self, scope: AsgiScope, receive: Receive, send: Send, wire: WireName) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.wire = wire
        self.request_id: str = (scope.get("state") or {}).get("request_id") or new_id("req")
        self.limits: Headers = ()
        self.started = False

    async def body(self) -> bytes:
        """The request's whole body; raises TooLarge beyond what any route takes."""
        for name, value in self.scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > MAX_BODY_BYTES:
                raise body_too_large(MAX_BODY_BYTES)
        message = await self._message()
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
            message = await self._message()

    async def read(self, reader: Callable[[bytes], Read]) -> Read:
        """What `reader` makes of the whole body; of a long one in a thread, so that others do not wait for it."""
        content = await self.body()
        if len(content) > LONG_BODY_BYTES:
            return await asyncio.to_thread(reader, content)
        return reader(content)

    async def _message(self) -> Message:
        # A timer for each request would cost as much as the rest of this: only a body that is not there yet gets one.
        arrived = getattr(getattr(self.receive, "__self__", None), "message_event", None)
        if arrived is not None and arrived.is_set():
            return await self.receive()
        try:
            async with asyncio.timeout(BODY_PAUSE_S):
                return await self.receive()
        except TimeoutError:
            raise InvalidRequest("The request ended before its body was complete.") from None

    async def answer(self, content: bytes, headers: Headers = (), status: int = 200) -> None:
        """Sends a whole JSON answer."""
        self.started = True
        length = (b"content-length", b"%d" % len(content))
        await self.send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [_JSON, length, *self._ids(), *self.limits, *headers],
            }
        )
        await self.send({"type": "http.response.body", "body": content})

    async def start(self, headers: Headers) -> None:
        """Begins an answer that is sent piece by piece."""
        self.started = True
        await self.send(
            {"type": "http.response.start", "status": 200, "headers": [*headers, *self._ids(), *self.limits]}
        )

    async def piece(self, content: bytes, *, last: bool = False) -> None:
        """Sends a piece, waiting while the client does not take it."""
        await self.send({"type": "http.response.body", "body": content, "more_body": not last})

    async def refuse(self, error: SlipwayError) -> None:
        """Sends an error in the envelope of the caller's wire."""
        headers = [(name.encode(), value.encode()) for name, value in headers_of(error).items()]
        content = json_bytes(error_body(self.wire, error, self.request_id))
        await self.answer(content, headers, error_status(self.wire, error))

    def _ids(self) -> Headers:
        request_id = self.request_id.encode()
        if self.wire == "anthropic":
            return ((b"x-request-id", request_id), (b"request-id", request_id))
        return ((b"x-request-id", request_id),)


class Door:
    """What stands before every hot route: credential, scope and rates, in this order."""

    def __init__(self, authenticator: Authenticator, admission: Admission, clock: Clock) -> None:
        self._authenticator = authenticator
        self._admission = admission
        self._clock = clock

    def route(self, wire: WireName, scope: Scope, handle: Handler, *, limited: bool = True) -> ASGIApp:
        """An ASGI application around `handle`; every error leaves in the envelope of its wire."""
        authenticate, enter, now = self._authenticator.authenticate, self._admission.enter, self._clock.now

        async def app(asgi: AsgiScope, receive: Receive, send: Send) -> None:
            exchange = Exchange(asgi, receive, send, wire)
            try:
                caller = exchange.caller = await authenticate(credential_of(asgi["headers"]))
                caller.require(scope)
                if limited:
                    exchange.terms, verdict = await enter(caller)
                    exchange.limits = limit_headers(wire, exchange.terms, verdict, now())
                    if not verdict.allowed:
                        raise refused(verdict)
                await handle(exchange)
            except Exception as error:
                if exchange.started:
                    raise
                log_error(error, exchange.request_id)
                await exchange.refuse(as_ours(error))

        return app
