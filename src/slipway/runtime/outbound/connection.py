"""One connection and the call that is on it: written in one piece, parsed by httptools, watched by the client's sweep.

Owned by `client`. It decides nothing: what came, how it ended and whether the connection may be used again is told to
the call and to the pool.
"""

import asyncio
import select
from collections.abc import Callable
from typing import Final

import httptools

from slipway.base.errors import DeadlineExceeded, SlipwayError, UpstreamFailed
from slipway.runtime.outbound.terms import Bounds

_UNSET: Final = float("inf")
_KEEP_ALIVE_MARGIN_S: Final = 1.0


class Call:
    """One request and its answer as it comes.

    It may be silent for `first_s` until its body begins, since some servers send a head long before they have anything
    to say, and then for `quiet_s`. For streams, where bytes that were read count no more, these are the same.
    """

    __slots__ = (
        "body",
        "complete",
        "deadline_s",
        "error",
        "first_s",
        "head",
        "headers",
        "quiet_s",
        "ready",
        "size_bytes",
        "status",
        "streams",
    )

    def __init__(
        self, ready: "asyncio.Future[None]", deadline_s: float, first_s: float, quiet_s: float, *, streams: bool
    ) -> None:
        self.ready = ready  # resolved when there is something for whoever waits
        self.deadline_s = deadline_s
        self.first_s = first_s
        self.quiet_s = quiet_s
        self.streams = streams
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.head = False
        self.body: list[bytes] = []
        self.size_bytes = 0  # of `body`
        self.complete = False
        self.error: SlipwayError | None = None

    def is_answered(self) -> bool:
        """Whether a stream can begin, or is known to fail."""
        return self.head or self.complete or self.error is not None

    def wake(self) -> None:
        """Lets whoever waits go on."""
        if not self.ready.done():
            self.ready.set_result(None)


class Connection(asyncio.Protocol):
    """A connection to one server. `released` is told when it can be used again, `lost` when it is gone."""

    __slots__ = (
        "_bare_bytes",
        "_bounds",
        "_call",
        "_dirty",
        "_framed",
        "_kept",
        "_loop",
        "_lost",
        "_parser",
        "_paused",
        "_poll",
        "_released",
        "_trailer_bytes",
        "expires_at_s",
        "keep_s",
        "last_s",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        bounds: Bounds,
        released: "Callable[[Connection], None]",
        lost: "Callable[[Connection], None]",
    ) -> None:
        self._loop = loop
        self._bounds = bounds
        self._released = released
        self._lost = lost
        self._parser = httptools.HttpResponseParser(self)
        self._call: Call | None = None
        self._bare_bytes = 0  # read since the answer's start, its head or a piece of its body: none of them yet
        self._trailer_bytes = 0
        self._framed = False
        self._kept = False
        self._dirty = False
        self._paused = False
        self.keep_s = bounds.idle_s
        self.last_s = loop.time()
        self.expires_at_s = _UNSET

    # What the client does -------------------------------------------------------------------------------------------

    @property
    def call(self) -> Call | None:
        """The call that is on it."""
        return self._call

    def is_usable(self, now_s: float) -> bool:
        """Whether a call may be sent on it."""
        return not self._dirty and not self.transport.is_closing() and now_s < self.expires_at_s

    def has_waiting(self) -> bool:
        """Whether bytes or an end have come that the loop has not read yet: nothing good comes unasked."""
        return bool(self._poll.poll(0))

    def is_gone(self) -> bool:
        """Whether it ended already."""
        return self._dirty or self.transport.is_closing()

    def send(self, call: Call, head: bytes, body: bytes) -> None:
        """Writes a request."""
        self._call = call
        self._bare_bytes = 0
        self._trailer_bytes = 0
        self._framed = False
        self.last_s = self._loop.time()
        self.transport.write(head + body if len(body) < 65536 else b"".join((head, body)))

    def abort(self) -> None:
        """Ends the connection at once, and the call with it."""
        self._dirty = True
        self._call = None
        self.transport.abort()

    def fail(self, error: SlipwayError) -> None:
        """Ends the connection and the call with an error."""
        call = self._call
        self.abort()
        if call is not None:
            call.error = error
            call.wake()

    def resume(self) -> None:
        """Goes on reading after somebody took what had come."""
        if self._paused:
            self._paused = False
            self.last_s = self._loop.time()
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def check(self, now_s: float) -> None:
        """Ends a call that takes too long."""
        call = self._call
        if call is None:
            return
        if now_s >= call.deadline_s:
            self.fail(DeadlineExceeded("The server that was asked did not finish in time.", effect_unknown=True))
        elif not self._paused and now_s >= self.last_s + (call.quiet_s if call.size_bytes else call.first_s):
            self.fail(DeadlineExceeded("The server that was asked did not go on in time.", effect_unknown=True))

    # asyncio --------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing is sent yet."""
        self.transport = transport  # type: ignore[assignment]
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """A piece of an answer."""
        call = self._call
        if call is None:
            # Nobody asked: whatever it is, nothing may be read as the answer to the next request.
            self._dirty = True
            self.transport.abort()
            return
        self.last_s = self._loop.time()
        self._bare_bytes += len(data)
        try:
            if call.head or self._bare_bytes <= self._bounds.head_bytes:
                self._parser.feed_data(data)
            else:
                self._feed_end_of_head(call, memoryview(data))
        except httptools.HttpParserUpgrade:
            self.fail(_broken("switched protocols"))
            return
        except httptools.HttpParserError as error:
            if not call.complete:
                self.fail(_broken(f"no HTTP answer: {error!r}"))
                return
            self._dirty = True
        if self._call is not call:
            return
        if call.complete:
            self._finish(call)
        else:
            self._continue(call)

    def _feed_end_of_head(self, call: Call, data: memoryview) -> None:
        """Feeds what a head may still have, and the rest only when that was its end: wherever reads begin and end."""
        border = len(data) - (self._bare_bytes - self._bounds.head_bytes)
        self._parser.feed_data(data[:border])
        if call.head:
            self._parser.feed_data(data[border:])
        else:
            call.error = _too_much(f"a head of more than {self._bounds.head_bytes} bytes")

    def _continue(self, call: Call) -> None:
        if call.error is not None:
            self.fail(call.error)
            return
        if not call.head:
            return
        if self._bare_bytes > 2 * self._bounds.head_bytes:  # one trailer, or one line before a chunk, without end
            self.fail(_too_much(f"more than {self._bounds.head_bytes} bytes between pieces of a body, or after it"))
            return
        if not call.streams:
            if call.size_bytes > self._bounds.body_bytes:
                self.fail(_too_much(f"a body of more than {self._bounds.body_bytes} bytes"))
            return
        if call.size_bytes > self._bounds.queue_bytes and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        call.wake()

    def eof_received(self) -> None:
        """The server ends the connection; asyncio closes our side."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; a body without a length ends here."""
        self._dirty = True
        call, self._call = self._call, None
        self._lost(self)
        if call is None:
            return
        if exc is None and call.head and not self._framed and not call.complete:
            call.complete = True
        elif not call.complete:
            call.error = _broken("the connection ended" if exc is None else repr(exc))
        call.wake()

    # httptools ------------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A head begins; after a complete answer it is one that nobody asked for."""
        call = self._call
        if call is not None and call.complete:
            self._dirty = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one trailer: those are read past, but count."""
        call = self._call
        if call is None or call.complete:
            return
        if not call.head:
            call.headers.append((name.lower(), value))
            return
        self._trailer_bytes += len(name) + len(value) + 4
        if self._trailer_bytes > self._bounds.head_bytes:
            call.error = _too_much(f"trailers of more than {self._bounds.head_bytes} bytes")

    def on_headers_complete(self) -> None:
        """The head is whole."""
        call = self._call
        if call is None or call.complete:
            return
        status = self._parser.get_status_code()
        if status < 200:
            call.headers = []
            return
        call.status = status
        call.head = True
        self._bare_bytes = 0
        for name, value in call.headers:
            if name in (b"content-length", b"transfer-encoding"):
                self._framed = True
            elif name == b"keep-alive":
                self.keep_s = min(_keep_alive_s(value), self._bounds.idle_s)
            elif name == b"content-encoding" and value.lower() != b"identity":
                call.error = _broken(f"an encoding that nobody asked for: {value[:40]!r}")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        call = self._call
        if call is not None and not call.complete:
            call.body.append(body)
            call.size_bytes += len(body)
            self._bare_bytes = 0

    def on_message_complete(self) -> None:
        """The answer is whole; one below 200 is not the answer yet."""
        call = self._call
        if call is not None and call.head:
            call.complete = True
            self._kept = self._parser.should_keep_alive()

    def _finish(self, call: Call) -> None:
        self._call = None
        reusable = not self._dirty and self._framed and self._kept and self.keep_s > 0
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        if reusable and call.error is None:
            self.expires_at_s = self.last_s + self.keep_s
            self._released(self)
        else:
            self._dirty = True
            self.transport.abort()
        if not call.streams and call.size_bytes > self._bounds.body_bytes:
            call.error = _too_much(f"a body of more than {self._bounds.body_bytes} bytes")
        call.wake()


def _keep_alive_s(value: bytes) -> float:
    """Seconds in a `Keep-Alive: timeout=5`, less a margin for a request that is on its way when it closes."""
    for part in value.split(b","):
        name, _, text = part.strip().partition(b"=")
        if name.strip().lower() == b"timeout" and text.strip().isdigit():
            return float(text) - _KEEP_ALIVE_MARGIN_S
    return _UNSET


def _broken(detail: str) -> UpstreamFailed:
    return UpstreamFailed("The connection to the server that was asked broke.", detail=detail, effect_unknown=True)


def _too_much(detail: str) -> UpstreamFailed:
    return UpstreamFailed(
        "The server that was asked sent more than an answer.", detail=detail, retryable=False, effect_unknown=True
    )
