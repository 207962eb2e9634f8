"""Server-sent events as they come off a socket, in pieces of any size (WHATWG HTML section 9.2).

The OpenAI adapter feeds it. It keeps `data` only, and refuses an event larger than its limit.
"""

from collections.abc import Iterator
from typing import Final

from slipway.base.errors import UpstreamFailed

MAX_EVENT_BYTES: Final = 4 * 2**20  # arbitrary; a chunk is some 200 bytes


class Events:
    """A parser; `feed` it bytes and take the data of each event that they complete."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._rest = b""
        self._data: list[bytes] = []
        self._size_bytes = 0
        self._after_return = False
        self._at_start = True

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The data of each event that `piece` completes; raises UpstreamFailed when one is too large."""
        if self._after_return and piece.startswith(b"\n"):
            piece = piece[1:]
        if piece:
            self._after_return = False
        text = self._rest + piece
        if self._at_start and text:
            if len(text) < 3 and b"\xef\xbb\xbf".startswith(text):
                self._rest = text
                return
            text, self._at_start = text.removeprefix(b"\xef\xbb\xbf"), False
        if b"\r" in text:
            self._after_return = text.endswith(b"\r")
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, self._rest = text.split(b"\n")
        for line in lines:
            if line:
                self._field(line)
            elif self._data:
                data, self._data, self._size_bytes = b"\n".join(self._data), [], 0
                yield data
        if self._size_bytes + len(self._rest) > self._max_event_bytes:
            self._too_large()

    def _field(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            self._size_bytes += len(line)
            if self._size_bytes > self._max_event_bytes:
                self._too_large()
        elif line == b"data":
            self._data.append(b"")

    def _too_large(self) -> None:
        raise UpstreamFailed("The model's provider sent an event that is too large.", retryable=False)
