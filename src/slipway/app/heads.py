"""What a connection may cost before it has asked for anything: the server's HTTP protocol with a bound on heads.

uvicorn on httptools waits for the head of a request for as long as it takes, and keeps all of it. Anybody who can
connect could hold connections without end, or fill the memory with one header; no credential is looked at before. It
also tells hot routes of a client that is gone, for which others have a task and a queue (`runtime/http/cancellation`).
"""

import asyncio
from typing import Any, Final
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from slipway.app.cycle import Cycle
from slipway.runtime.http.cancellation import CONNECTION

MAX_HEAD_BYTES: Final = 64 * 1024  # tokens take 16 KiB at most; one read of the socket may come on top
HEAD_TIMEOUT_S: Final = 10.0


class BoundedHeads(HttpToolsProtocol):
    """Closes a connection whose next head is not whole in time, or has become too large; so with trailers."""

    head_timeout_s = HEAD_TIMEOUT_S

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_bytes = 0  # since the parser last made anything of what came
        self._in_message = False
        self._timer: asyncio.TimerHandle | None = None
        self._work: set[asyncio.Task[None]] = set()

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
        super().connection_lost(exc)
        for work in self._work:
            work.cancel()
        self._work.clear()

    def data_received(self, data: bytes) -> None:
        """Counts what is not a body, and waits anew when it is not a whole head either."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        answering = bool(self.cycle) and not self.cycle.response_complete
        if self._head_bytes > MAX_HEAD_BYTES:
            if answering:
                self.transport.close()
            else:
                self.send_400_response(f"The head of this request is larger than {MAX_HEAD_BYTES // 1024} KiB.")
        elif self._timer is None and not answering and not self._in_message:
            self._timer = self.loop.call_later(self.head_timeout_s, self.transport.close)

    def on_headers_complete(self) -> None:
        """A head is whole: its request begins, or waits for those before it on this connection."""
        self._head_bytes, self._in_message = 0, True
        self._stop_waiting()
        parser, scope = self.parser, self.scope
        version = parser.get_http_version()
        url = httptools.parse_url(self.url)
        scope["method"] = parser.get_method().decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        scope["raw_path"] = url.path
        path = url.path.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["query_string"] = url.query or b""
        answering = bool(self.cycle) and not self.cycle.response_complete
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
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if answering:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))
        else:
            self._start_asgi_task(cycle, self.app)

    def on_body(self, body: bytes) -> None:
        """A body is for its route to bound."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The next head may come."""
        self._head_bytes, self._in_message = 0, False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """What the application still has to tidy up may finish."""
        self._work.clear()
        super().on_response_complete()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
