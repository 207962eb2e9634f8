"""The client of one server: a pool of connections, and one sweep that watches deadlines.

Nothing is connected before the first call. The address is the constructor's alone: redirects come back as answers, and
no proxy of the environment is used. A request is sent once; when its connection breaks after that nobody knows whether
it was served (`effect_unknown`), and it is the caller's to decide.

Places are shared out among owners of calls: one may have as many calls open as there are places free, so whoever takes
much leaves as much, and the first call of another one finds a place.
"""

import asyncio
import re
import ssl
from collections import deque
from functools import cache, partial
from typing import Final
from urllib.parse import urlsplit

from slipway.base.errors import InvalidRequest, Misconfigured, SlipwayError, Unavailable
from slipway.runtime.outbound.connection import Call, Connection
from slipway.runtime.outbound.stream import Answer, Stream
from slipway.runtime.outbound.terms import Bounds, Deadlines, HeaderList, Headers, ShareExceeded

_SWEEP_S: Final = 0.05  # deadlines are late by this much at most
_PREPARED: Final = 256  # heads kept; a server has a few paths and a key
_NO_TARGET: Final = re.compile(rb"[^\x21-\x7e]")
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, token
_BUSY: Final = "Every connection to the server that was asked is in use: try again."
_ADDRESS: Final = "The server that was asked cannot be reached: try again, or check its address in the manifest."


@cache
def default_tls() -> ssl.SSLContext:
    """Certificates of public authorities, checked; read once, that takes 20 ms and 2 MB."""
    import httpx

    context = httpx.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Outbound:
    """A client of one server."""

    def __init__(self, base_url: str, *, bounds: Bounds | None = None, tls: ssl.SSLContext | None = None) -> None:
        """`base_url` is http(s); its path stands before every path, its query after. Raises Misconfigured."""
        try:
            parts = urlsplit(base_url)
            port = parts.port
        except ValueError as error:
            raise Misconfigured(f"{base_url[:200]!r} is not an http(s) address.") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or not base_url.isascii():
            raise Misconfigured(f"{base_url[:200]!r} is not an http(s) address.")
        self._secure = parts.scheme == "https"
        self._tls = tls
        self._host = parts.hostname
        self._port = port or (443 if self._secure else 80)
        self._authority = parts.netloc.rpartition("@")[2].encode()
        self._prefix = parts.path.rstrip("/").encode()
        self._query = parts.query.encode()
        self._bounds = bounds or Bounds()
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._connecting = 0
        self._owned: dict[str, int] = {}
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._heads: dict[tuple[str, tuple[tuple[bytes, bytes], ...]], bytes] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    async def post(
        self, path: str, headers: Headers, body: bytes, deadlines: Deadlines, *, owner: str | None = None
    ) -> Answer:
        """A whole answer, whatever its status.

        Raises Unavailable when the server is not reached, UpstreamFailed when the connection breaks or brings too much,
        DeadlineExceeded; ShareExceeded, and then nothing was sent.
        """
        if owner is not None:
            self._take(owner)
        try:
            connection, call = await self._sent(path, headers, body, deadlines, streams=False)
            try:
                await call.ready
            except BaseException:
                if connection.call is call:
                    connection.abort()
                raise
        finally:
            if owner is not None:
                self._give_back(owner)
        if call.error is not None:
            raise call.error
        pieces = call.body
        return Answer(call.status, HeaderList(call.headers), pieces[0] if len(pieces) == 1 else b"".join(pieces))

    async def stream(
        self, path: str, headers: Headers, body: bytes, deadlines: Deadlines, *, owner: str | None = None
    ) -> Stream:
        """An answer whose head is there, to be read and closed. Raises as `post`."""
        if owner is None:
            return Stream(*await self._begun(path, headers, body, deadlines))
        self._take(owner)
        try:
            return Stream(*await self._begun(path, headers, body, deadlines), partial(self._give_back, owner))
        except BaseException:
            self._give_back(owner)
            raise

    async def _begun(self, path: str, headers: Headers, body: bytes, deadlines: Deadlines) -> tuple[Call, Connection]:
        connection, call = await self._sent(path, headers, body, deadlines, streams=True)
        try:
            while not call.is_answered():
                await call.ready
                if not call.is_answered():
                    call.ready = asyncio.get_running_loop().create_future()
        except BaseException:
            if connection.call is call:
                connection.abort()
            raise
        if call.error is not None:
            if connection.call is call:
                connection.abort()
            raise call.error
        return call, connection

    async def close(self) -> None:
        """Ends every connection, and the calls on them."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in list(self._open):
            connection.fail(_stopping(effect_unknown=True))
        self._idle.clear()
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(_stopping())
        await asyncio.sleep(0)

    async def _sent(
        self, path: str, headers: Headers, body: bytes, deadlines: Deadlines, *, streams: bool
    ) -> tuple[Connection, Call]:
        head = b"%bcontent-length: %d\r\n\r\n" % (self._head(path, headers), len(body))
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        connection = self._pooled(now_s) or await self._connected(loop, deadlines)
        first_s = deadlines.first_byte_s if streams else deadlines.whole_first_byte_s
        call = Call(loop.create_future(), now_s + deadlines.total_s, first_s, deadlines.first_byte_s, streams=streams)
        connection.send(call, head, body)
        if self._sweep is None:
            self._sweep = loop.call_later(_SWEEP_S, self._swept, loop)
        return connection, call

    def _head(self, path: str, headers: Headers) -> bytes:
        key = (path, headers) if isinstance(headers, tuple) else None
        if key is not None:
            known = self._heads.get(key)
            if known is not None:
                return known
        if not path.isascii():
            raise InvalidRequest("A path for the server that is asked has a character that is not ASCII.")
        target = self._prefix + path.encode()
        if self._query:
            target += (b"&" if b"?" in target else b"?") + self._query
        lines = [b"POST %b HTTP/1.1" % target, b"host: %b" % self._authority, b"accept-encoding: identity"]
        for name, value in headers:
            if not _NAME.fullmatch(name):
                raise InvalidRequest("A header for the server that is asked has a name that HTTP does not allow.")
            if name.lower() not in (
                b"host",
                b"content-length",
                b"accept-encoding",
                b"transfer-encoding",
                b"connection",
            ):
                lines.append(b"%b: %b" % (name, value))
        head = b"\r\n".join(lines)
        if (
            b"\0" in head
            or head.count(b"\n") != len(lines) - 1
            or head.count(b"\r") != len(lines) - 1
            or not target
            or _NO_TARGET.search(target)
        ):
            raise InvalidRequest("A header or a path for the server that is asked has a line break or a space in it.")
        head += b"\r\n"
        if key is not None:
            if len(self._heads) >= _PREPARED:
                self._heads.clear()
            self._heads[key] = head
        return head

    # The pool -------------------------------------------------------------------------------------------------------

    def _take(self, owner: str) -> None:
        """Counts a call of `owner`; its first one is never refused, and waits for a place like any other."""
        calls = self._owned.get(owner, 0)
        if calls:
            taken = len(self._open) - len(self._idle) + self._connecting + len(self._waiting)
            if calls >= self._bounds.connections - taken:
                raise ShareExceeded(calls)
        self._owned[owner] = calls + 1

    def _give_back(self, owner: str) -> None:
        calls = self._owned[owner] - 1
        if calls:
            self._owned[owner] = calls
        else:
            del self._owned[owner]

    def _pooled(self, now_s: float) -> Connection | None:
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.is_usable(now_s) and not connection.has_waiting():
                return connection
            connection.abort()
        return None

    async def _connected(self, loop: asyncio.AbstractEventLoop, deadlines: Deadlines) -> Connection:
        if self._closed:
            raise _stopping()
        within_s = min(deadlines.connect_s, deadlines.total_s)
        has_place = False
        try:
            async with asyncio.timeout(within_s):
                if self._room():
                    self._connecting += 1
                else:
                    connection = await self._place(loop)
                    if connection is not None:
                        return connection
                has_place = True
                try:
                    return await self._made(loop)
                finally:
                    self._connecting -= 1
                    self._offer_room()  # after a deadline or a cancellation too
        except TimeoutError as error:
            if not has_place:
                raise Unavailable(_BUSY, detail=f"{self._bounds.connections} connections are open") from error
            raise Unavailable(_ADDRESS, detail=f"not connected within {within_s:g} s") from error

    async def _place(self, loop: asyncio.AbstractEventLoop) -> Connection | None:
        """A connection, or room to make one, counted in `_connecting` already so that nobody else takes it."""
        first = True
        while not self._closed:
            waiter: asyncio.Future[Connection | None] = loop.create_future()
            if first:
                self._waiting.append(waiter)
            else:
                self._waiting.appendleft(waiter)
            try:
                connection = await waiter
            except BaseException:
                if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                    self._handed_back(waiter.result())
                while self._waiting and self._waiting[0].done():  # who gave up is not kept until there is room
                    del self._waiting[0]
                raise
            if connection is None or connection.is_usable(loop.time()):
                return connection
            connection.abort()  # it ended on its way here
            if self._room():
                self._connecting += 1
                return None
            first = False
        raise _stopping()

    async def _made(self, loop: asyncio.AbstractEventLoop) -> Connection:
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(loop, self._bounds, self._released, self._lost),
                self._host,
                self._port,
                ssl=(self._tls or default_tls()) if self._secure else None,
            )
        except SlipwayError:
            raise
        except (OSError, ValueError) as error:  # a certificate that does not hold is an OSError too
            raise Unavailable(_ADDRESS, detail=repr(error)) from error
        if self._closed:
            connection.abort()
            raise _stopping()
        if connection.is_gone():  # the pool would never be told of its end
            raise Unavailable(_ADDRESS, detail="the connection ended as it was made")
        self._open.add(connection)
        return connection

    def _released(self, connection: Connection) -> None:
        if self._closed:
            connection.abort()
        elif not self._wake_one(connection):
            self._idle.append(connection)

    def _handed_back(self, connection: Connection | None) -> None:
        if connection is None:
            self._connecting -= 1
            self._offer_room()
        elif connection.is_usable(connection.last_s):
            self._released(connection)

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._offer_room()

    def _room(self) -> bool:
        return len(self._open) + self._connecting < self._bounds.connections

    def _offer_room(self) -> None:
        if self._waiting and self._room() and self._wake_one(None):
            self._connecting += 1  # kept for who was woken, until a connection is made or the room handed back

    def _wake_one(self, connection: Connection | None) -> bool:
        """Gives a connection, or room for one, to who has waited longest."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    def _swept(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        for connection in list(self._open):
            if connection.call is not None:
                connection.check(now_s)
        if self._idle and not self._idle[0].is_usable(now_s):
            stale = [connection for connection in self._idle if not connection.is_usable(now_s)]
            self._idle = [connection for connection in self._idle if connection.is_usable(now_s)]
            for connection in stale:
                connection.abort()
        self._sweep = loop.call_later(_SWEEP_S, self._swept, loop) if self._open else None


def _stopping(*, effect_unknown: bool = False) -> Unavailable:
    return Unavailable("The platform is stopping.", retryable=False, effect_unknown=effect_unknown)
