"""What a connection may cost before it has asked for anything: the server's HTTP protocol with bounds on what waits.

uvicorn on httptools waits for the head of a request for as long as it takes and keeps all of it, and queues as many
requests as fit a read. Anybody who can connect could hold connections without end, or fill the memory; no credential is
looked at before. It also tells hot routes of a client that is gone, for which others have a task and a queue
(`runtime/http/cancellation`).
"""

import asyncio
import re
from collections import deque
from typing import Any, Final
from urllib.parse import unquote

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from slipway.app.cycle import Cycle
from slipway.base.errors import InvalidRequest
from slipway.base.ids import new_id
from slipway.runtime.http.cancellation import CONNECTION
from slipway.runtime.http.problems import problem

MAX_HEAD_BYTES: Final = 64 * 1024  # tokens take 16 KiB at most; one read of the socket may come on top
HEAD_TIMEOUT_S: Final = 10.0
MAX_WAITING: Final = 16  # requests behind the one that is answered; clients that send ahead send a few
# Java's client offers HTTP/2 with its first request. Who does not read the offer must not see it: the parser would take
# the body for another protocol.
_UPGRADE: Final = re.compile(rb"\r\nupgrade(?=[ \t]*:)", re.IGNORECASE)
_NO_HTTP: Final = "This is not a request in HTTP/1.1."
_NO_UPGRADE: Final = "This server speaks HTTP/1.1 alone: leave out the Upgrade header."


class UpgradeAsked(Exception):
    """A head asks for another protocol."""


class BoundedHeads(HttpToolsProtocol):
    """Closes a connection whose next head is not whole in time, or has become too large; so with trailers."""

    head_timeout_s = HEAD_TIMEOUT_S

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_bytes = 0  # since the parser last made anything of what came
        self._in_message = False
        self._timer: asyncio.TimerHandle | None = None
        self._work: set[asyncio.Task[None]] = set()
        self._unanswered: deque[Cycle] = deque()

    def cancel_when_lost(self, work: "asyncio.Task[None]") -> None:
        """Cancels `work`, a request's task, as soon as the client is gone before its answer is complete."""
        self._work.add(work)

    def is_lost(self) -> bool:
        """Whether the client is gone."""
        return self.parser is None

    def on_message_begin(self) -> None:
        """A request begins; its application may ask to be cancelled with its connection."""
        super().on_message_begin()
        self.scope[CONNECTION] = self  # type: ignore[typeddict-unknown-key]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for the first head."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.head_timeout_s, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the wait, and the work for a client that is gone."""
        self._stop_waiting()
        for cycle in self._unanswered:
            cycle.disconnected = True
            cycle.message_event.set()
        self._unanswered.clear()
        self.pipeline.clear()
        super().connection_lost(exc)
        for work in self._work:
            work.cancel()
        self._work.clear()

    def data_received(self, data: bytes) -> None:
        """Counts what is not a body, and waits anew when it is not a whole head either."""
        self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        if not self._in_message and b"pgrade" in data:
            data = _without_upgrade(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.send_400_response(_NO_UPGRADE if isinstance(error.__context__, UpgradeAsked) else _NO_HTTP)
        if self.transport.is_closing():
            return
        if self._head_bytes > MAX_HEAD_BYTES:
            self.send_400_response(f"The head of this request is larger than {MAX_HEAD_BYTES // 1024} KiB.")
        elif self._timer is None and not self._unanswered and not self._in_message:
            self._timer = self.loop.call_later(self.head_timeout_s, self.transport.close)

    def on_headers_complete(self) -> None:
        """A head is whole: its request begins, or waits for those before it on this connection."""
        if self.transport.is_closing():
            return
        if len(self._unanswered) > MAX_WAITING:
            self.transport.close()
            return
        self._head_bytes, self._in_message = 0, True
        self._stop_waiting()
        parser, scope = self.parser, self.scope
        version = parser.get_http_version()
        if parser.should_upgrade():
            raise UpgradeAsked
        if version not in ("1.1", "1.0") or _hosts(self.headers, version) != 1:
            raise ValueError("RFC 9112 has a server refuse this")
        url = httptools.parse_url(self.url)
        scope["method"] = parser.get_method().decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        scope["raw_path"] = url.path
        path = url.path.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["query_string"] = url.query or b""
        self.cycle = cycle = Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version == "1.1" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        self._unanswered.append(cycle)
        if len(self._unanswered) == 1:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def on_body(self, body: bytes) -> None:
        """A body is for its route to bound."""
        self._head_bytes = 0
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The next head may come."""
        self._head_bytes, self._in_message = 0, False
        self._stop_waiting()
        if not self.transport.is_closing():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """What the application still has to tidy up may finish; what is left of the body has to come in time."""
        self._work.clear()
        self._unanswered.popleft()
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()
        elif self._in_message and self._timer is None:
            self._timer = self.loop.call_later(self.head_timeout_s, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """Refuses what cannot be read, and closes; in the middle of an answer there is nothing to say."""
        if self.transport.is_closing():
            return
        if not self._unanswered:
            status, headers, body = problem(InvalidRequest(msg), request_id := new_id("req"))
            content = orjson.dumps(body)
            lines = [
                STATUS_LINE[status][:-2],
                b"content-type: application/problem+json",
                b"content-length: %d" % len(content),
                b"x-request-id: " + request_id.encode(),
                *(f"{name}: {value}".encode() for name, value in headers.items()),
                b"connection: close",
            ]
            self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + content)
        self.transport.close()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _without_upgrade(data: bytes) -> bytes:
    """A head, or the beginning of one, whose `Upgrade` has another name; a body behind it is as it was."""
    end = data.find(b"\r\n\r\n")
    head = data if end < 0 else data[:end]
    return _UPGRADE.sub(b"\r\nx-upgra", head) + data[len(head) :]


def _hosts(headers: list[tuple[bytes, bytes]], version: str) -> int:
    """How many `Host` fields there are; HTTP/1.0 may do without."""
    found = 0
    for name, _ in headers:
        if name == b"host":
            found += 1
    return found or (1 if version == "1.0" else 0)
