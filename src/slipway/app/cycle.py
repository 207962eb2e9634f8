"""One request on a connection and its answer: uvicorn's, but head and body leave in one write where they come together.

A write is a system call that wakes the reader, a third of what uvicorn takes for a request; a second third went into
looking at each header of an answer by itself.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_JOINED_BYTES: Final = 64 * 1024  # larger bodies are not copied behind their head


class Cycle(RequestResponseCycle):
    """A request, its body as it comes, and its answer."""

    _head = b""
    _until_closed = False

    async def send(self, message: Any) -> None:
        """Takes a message of ASGI; waits while the client does not read."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if not self.response_started:
            if kind != "http.response.start":
                raise RuntimeError(f"An answer begins with http.response.start, not with {kind}.")
            self._start(message["status"], message.get("headers", ()))
        elif kind != "http.response.body" or self.response_complete:
            raise RuntimeError(
                f"{kind} is sent after an answer was {'complete' if self.response_complete else 'begun'}."
            )
        else:
            self._continue(message.get("body", b""), more=message.get("more_body", False))

    def _start(self, status: int, headers: Any) -> None:
        lines = [STATUS_LINE[status][:-2]]
        for name, value in self.default_headers:
            lines += (b"%b: %b" % (name, value),)
        length: int | None = None
        chunked = closes = False
        for name, value in headers:
            lower = name.lower()
            if lower == b"content-length" and not chunked:
                length = int(value)
            elif lower == b"transfer-encoding" and value.lower() == b"chunked":
                length, chunked = None, True
            elif lower == b"connection" and b"close" in value.lower():
                closes = True
            lines += (b"%b: %b" % (lower, value),)
        until_closed = False
        if length is None and not chunked and self.scope["method"] != "HEAD" and status not in (204, 304):
            until_closed = self.scope["http_version"] == "1.0"  # knows no chunks: the answer ends with the connection
            if not until_closed:
                chunked = True
                lines += (b"transfer-encoding: chunked",)
        if not self.keep_alive and not closes:
            lines += (b"connection: close",)
        head = b"\r\n".join(lines)
        breaks = len(lines) - 1
        if head.count(b"\n") != breaks or head.count(b"\r") != breaks or b"\0" in head:
            raise RuntimeError("A header of an answer has a line break in it.")
        self.keep_alive = self.keep_alive and not closes
        self.chunked_encoding, self._until_closed = chunked, until_closed
        self.expected_content_length = length or 0
        self.response_started = True
        self.waiting_for_100_continue = False
        self._head = head + b"\r\n\r\n"
        # Who begins an answer and has nothing to say yet still has its head sent.
        asyncio.get_running_loop().call_soon(self._send_head)

    def _send_head(self) -> None:
        head, self._head = self._head, b""
        if head and not self.transport.is_closing():
            self.transport.write(head)

    def _continue(self, body: bytes, *, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
            content = b""
        elif self.chunked_encoding:
            content = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                content += b"0\r\n\r\n"
        elif self._until_closed:
            content = body
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("The body of an answer is longer than its content-length.")
            content = body
        if len(content) > _JOINED_BYTES:
            self._send_head()
        else:
            content, self._head = self._head + content, b""
        if content:
            self.transport.write(content)
        if not more:
            if self.expected_content_length:
                raise RuntimeError("The body of an answer is shorter than its content-length.")
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()
