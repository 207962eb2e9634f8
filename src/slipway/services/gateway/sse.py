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
        self._rest: list[bytes] = []  # of a line without its end yet; joined once, so that long ones cost little
        self._rest_bytes = 0
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
        if self._at_start or b"\n" in piece or b"\r" in piece:
            yield from self._lines(b"".join((*self._rest, piece)))
        else:
            self._keep(piece)
        if self._size_bytes + self._rest_bytes > self._max_event_bytes:
            self._too_large()

    def _keep(self, *pieces: bytes) -> None:
        self._rest += pieces
        self._rest_bytes += sum(map(len, pieces))

    def _lines(self, text: bytes) -> Iterator[bytes]:
        self._rest, self._rest_bytes = [], 0
        if self._at_start and text:
            if len(text) < 3 and b"\xef\xbb\xbf".startswith(text):
                self._keep(text)
                return
            text, self._at_start = text.removeprefix(b"\xef\xbb\xbf"), False
        if b"\r" in text:
            self._after_return = text.endswith(b"\r")
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = text.split(b"\n")
        self._keep(rest)
        for line in lines:
            if line:
                self._field(line)
            elif self._data:
                data, self._data, self._size_bytes = b"\n".join(self._data), [], 0
                yield data

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
