"""Answers as callers get them: whole, or piece by piece."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from slipway.base.errors import UpstreamFailed
from slipway.runtime.outbound.connection import Call, Connection
from slipway.runtime.outbound.terms import HeaderList


@dataclass(slots=True)
class Answer:
    """A whole answer, whatever its status."""

    status: int
    headers: HeaderList
    body: bytes


class Stream:
    """An answer that is read as it comes. It must be closed."""

    __slots__ = ("_call", "_closed", "_connection", "headers", "status")

    def __init__(self, call: Call, connection: Connection, closed: Callable[[], None] | None = None) -> None:
        """`closed` is told once that nobody reads any more."""
        self._call = call
        self._connection = connection
        self._closed = closed
        self.status = call.status
        self.headers = HeaderList(call.headers)

    async def read(self) -> bytes:
        """What has come since, or nothing at the end. Raises UpstreamFailed and DeadlineExceeded."""
        call = self._call
        while True:
            if call.body:
                content = call.body[0] if len(call.body) == 1 else b"".join(call.body)
                call.body = []
                call.size_bytes = 0
                if self._connection.call is call:  # it may serve another one by now
                    self._connection.resume()
                return content
            if call.error is not None:
                raise call.error
            if call.complete:
                return b""
            if call.ready.done():
                call.ready = asyncio.get_running_loop().create_future()
            try:
                await call.ready
            except asyncio.CancelledError:
                self.close()
                raise

    async def rest(self, max_bytes: int) -> bytes:
        """All that is still to come; raises UpstreamFailed when that is more than `max_bytes`."""
        pieces: list[bytes] = []
        size_bytes = 0
        while piece := await self.read():
            size_bytes += len(piece)
            if size_bytes > max_bytes:
                raise UpstreamFailed("The server that was asked sent more than an answer.", retryable=False)
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Ends the call; a connection that was not read to its end is not used again."""
        if self._connection.call is self._call:
            self._connection.abort()
        if self._closed is not None:
            self._closed()
            self._closed = None
