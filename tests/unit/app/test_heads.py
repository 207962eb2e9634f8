"""The server's side of HTTP/1.1 over a real socket: lengths, what comes ahead, what is refused, what waits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from slipway.app.heads import MAX_WAITING, BoundedHeads

pytestmark = pytest.mark.anyio


class Quick(BoundedHeads):
    """Waits a tenth of a second for what has to come."""

    head_timeout_s = 0.1


class App:
    """Answers as the path says; `seen` are bodies, `release` lets `/wait` go on."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.release = asyncio.Event()
        self.cancelled = 0

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        path = scope["path"]
        if path == "/early":
            await self._answer(send, 401, b"no")
            return
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.cancelled += 1
                return
            body += message["body"]
            if not message["more_body"]:
                break
        self.seen.append(body)
        await self._answered(scope["method"], path, send)

    async def _answered(self, method: str, path: str, send: Callable) -> None:
        if path == "/wait":
            await self.release.wait()
        if path in ("/none", "/unchanged"):
            await send({"type": "http.response.start", "status": 204 if path == "/none" else 304, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        elif path == "/pieces":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for piece in (b"one", b"", b"two"):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        elif path == "/head-first":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await self.release.wait()
            await send({"type": "http.response.body", "body": b"ok"})
        elif path == "/broken":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise ConnectionError("the application fails in the middle")
        elif path == "/split":
            await self._answer(send, 200, b"x", (b"x-evil", b"a\r\nset-cookie: b"))
        elif path == "/large":
            await self._answer(send, 200, bytes(300_000))
        else:
            await self._answer(send, 200, method.encode() + b" " + path.encode())

    async def _answer(self, send: Callable, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def app() -> App:
    return App()


Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@asynccontextmanager
async def listening(app: App, protocol: type[BoundedHeads]) -> AsyncIterator[Connect]:
    config = uvicorn.Config(
        app, http=protocol, ws="none", lifespan="off", log_config=None, access_log=False, date_header=False, port=0
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        lambda: protocol(config=config, server_state=server.server_state, app_state={}), "127.0.0.1", 0
    )
    writers: list[asyncio.StreamWriter] = []

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        writers.append(writer)
        return reader, writer

    try:
        yield connect
    finally:
        for writer in writers:
            writer.close()
        listener.close()
        await asyncio.sleep(0.05)


@pytest.fixture
async def connect(app: App) -> AsyncIterator[Connect]:
    async with listening(app, Quick) as open_one:
        yield open_one


async def exchanged(connect: Connect, *sent: bytes) -> bytes:
    """All that comes back until the server closes, or says nothing for a third of a second."""
    reader, writer = await connect()
    for piece in sent:
        writer.write(piece)
        await asyncio.sleep(0.01)
    received = b""
    try:
        while piece := await asyncio.wait_for(reader.read(2**20), 0.33):
            received += piece
    except TimeoutError:
        return received
    except ConnectionResetError:
        pass
    return received + b"<closed>"


def request(path: str, *headers: bytes, method: bytes = b"GET", version: bytes = b"1.1", body: bytes = b"") -> bytes:
    lines = [b"%b %b HTTP/%b" % (method, path.encode(), version), b"host: here", *headers]
    if body:
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def test_head_and_body_come_in_one_piece_and_the_connection_stays(connect: Connect):
    reader, writer = await connect()
    for path in ("/a", "/b"):
        writer.write(request(path))
        answer = await reader.read(1000)
        assert answer == b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nGET " + path.encode()


async def test_a_head_that_has_nothing_to_say_yet_is_sent(connect: Connect, app: App):
    reader, writer = await connect()
    writer.write(request("/head-first"))
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 1) == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
    app.release.set()
    assert await asyncio.wait_for(reader.readexactly(2), 1) == b"ok"


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (request("/pieces"), b"transfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"),
        (request("/pieces", version=b"1.0"), b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nonetwo<closed>"),
        (request("/a", version=b"1.0"), b"content-length: 6\r\nconnection: close\r\n\r\nGET /a<closed>"),
        (request("/a", method=b"HEAD"), b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n"),
        (request("/none"), b"HTTP/1.1 204 No Content\r\n\r\n"),
        (request("/unchanged"), b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        (request("/a", b"connection: close"), b"connection: close\r\n\r\nGET /a<closed>"),
        (request("/split"), b"\r\n\r\nInternal Server Error<closed>"),
    ],
)
async def test_an_answer_ends_as_http_says(connect: Connect, sent: bytes, answered: bytes):
    received = await exchanged(connect, sent)
    assert received.endswith(answered) or received.removesuffix(b"<closed>").endswith(answered)
    assert b"set-cookie" not in received


async def test_a_large_body_comes_whole(connect: Connect):
    assert (await exchanged(connect, request("/large", b"connection: close"))).count(b"\0") == 300_000


async def test_an_application_that_fails_in_the_middle_closes(connect: Connect):
    received = await exchanged(connect, request("/broken"))
    assert received.endswith(b"half<closed>")


async def test_expect_is_answered_before_the_body_is_sent(connect: Connect, app: App):
    reader, writer = await connect()
    writer.write(b"POST /a HTTP/1.1\r\nhost: here\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 1) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"body")
    assert (await asyncio.wait_for(reader.read(1000), 1)).endswith(b"POST /a")
    assert app.seen == [b"body"]


async def test_what_is_sent_ahead_is_answered_in_turn(connect: Connect, app: App):
    paths = [f"/{number:02}" for number in range(MAX_WAITING)]
    received = await exchanged(connect, b"".join(request(path, body=b"x" * 10, method=b"POST") for path in paths))
    assert [received.index(path.encode()) for path in paths] == sorted(received.index(path.encode()) for path in paths)
    assert app.seen == [b"x" * 10] * MAX_WAITING


async def test_who_sends_too_much_ahead_is_cut_off(connect: Connect, app: App):
    received = await exchanged(connect, request("/wait"), request("/a") * 10_000)
    assert received == b"<closed>"
    assert len(app.seen) <= 1


async def test_a_client_that_leaves_ends_everything_it_sent_ahead(connect: Connect, app: App):
    _, writer = await connect()
    writer.write(request("/early") + request("/wait-for-body", b"content-length: 5", method=b"POST"))
    await asyncio.sleep(0.05)
    writer.transport.abort()
    await asyncio.sleep(0.05)
    assert app.cancelled == 1


@pytest.mark.parametrize("pieces", [(b"",), (b"x",)])
async def test_a_body_that_nobody_waits_for_must_come_in_time(connect: Connect, pieces: tuple[bytes, ...]):
    received = await exchanged(connect, request("/early", b"content-length: 1000000", method=b"POST"), *pieces)
    assert b" 401 " in received and received.endswith(b"no<closed>")


async def test_after_such_a_body_the_connection_goes_on(connect: Connect):
    head = request("/early", b"content-length: 4", method=b"POST")
    received = await exchanged(connect, head, b"body" + request("/next"))
    assert received.removesuffix(b"<closed>").endswith(b"GET /next")


async def test_java_s_offer_of_http_2_is_not_taken_up(connect: Connect, app: App):
    offer = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
    received = await exchanged(
        connect, request("/a", *offer, method=b"POST", body=b"upgrade: is text here\r\n\r\n"), request("/next", *offer)
    )
    assert app.seen[0] == b"upgrade: is text here\r\n\r\n"
    assert b"POST /a" in received
    assert received.removesuffix(b"<closed>").endswith(b"GET /next")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"GET /\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"CONNECT here:443 HTTP/1.1\r\nhost: here\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nup" + b"<cut>" + b"grade: h2c\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused_as_every_other_error(connect: Connect, app: App, sent: bytes):
    received = await exchanged(connect, *sent.split(b"<cut>"))
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json\r\n" in received
    assert b"\r\nx-request-id: req_" in received
    assert received.endswith(b"}<closed>")
    assert app.seen == []


async def test_http_1_0_may_leave_the_host_out(connect: Connect):
    assert b"GET /a" in await exchanged(connect, b"GET /a HTTP/1.0\r\n\r\n")


async def test_garbage_behind_a_request_never_lands_in_its_answer(connect: Connect, app: App):
    received = await exchanged(connect, request("/wait"), b"\0\0\0 garbage\r\n\r\n")
    assert received == b"<closed>"
