"""Pages of other origins: which may call, told to their browser (the fetch standard, "CORS protocol").

Around the whole application, and only where the manifest names origins. No cookie is a credential here, so none is
allowed. An API Gateway in front answers preflights itself; a load balancer lets them through to here.
"""

from collections.abc import Iterable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS: Final = b"DELETE, GET, PATCH, POST, PUT"
_HEADERS: Final = b"authorization, content-type, idempotency-key, last-event-id, x-api-key, x-request-id"
_EXPOSED: Final = b"retry-after, x-request-id"
_MAX_AGE_S: Final = b"7200"  # what Chromium keeps at most


class Cors:
    """Answers preflights of `origins`, and says in each answer to one of them that it may read it."""

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self._app = app
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        origin = headers.get(b"origin")
        allowed = origin if origin in self._origins else None
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            await _preflight(send, allowed)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *_told(allowed)]}
            await send(message)

        await self._app(scope, receive, told)


def _told(origin: bytes | None) -> list[tuple[bytes, bytes]]:
    """Also who may not read it is told that the answer depends on the origin: a cache must not mix them up."""
    vary = (b"vary", b"origin")
    if origin is None:
        return [vary]
    return [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", _EXPOSED), vary]


async def _preflight(send: Send, origin: bytes | None) -> None:
    headers = _told(origin)
    if origin is not None:
        headers += [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", _HEADERS),
            (b"access-control-max-age", _MAX_AGE_S),
        ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
