"""The client of servers outside, against servers that answer well, badly, late or not at all."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.base.errors import (
    DeadlineExceeded,
    InvalidRequest,
    Misconfigured,
    SlipwayError,
    Unavailable,
    UpstreamFailed,
)
from slipway.runtime.outbound import Bounds, Deadlines, Outbound

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
QUICK = Deadlines(connect_s=2.0, first_byte_s=5.0, total_s=5.0)
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nabcde"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + CHUNKED


class Server:
    """A server of this test; what it was asked, and over how many connections."""

    def __init__(self) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self.url = ""

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        content = head + await reader.readexactly(size)
        self.requests.append(content)
        return content


@contextlib.asynccontextmanager
async def serving(
    make: Callable[[Server], Handler], *, bounds: Bounds | None = None, suffix: str = ""
) -> AsyncIterator[tuple[Server, Outbound]]:
    server = Server()
    handler = make(server)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        try:
            await handler(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}{suffix}"
    client = Outbound(server.url, bounds=bounds)
    try:
        yield server, client
    finally:
        await client.close()
        listener.close()
        await asyncio.sleep(0.02)


def answering(*pieces: bytes, ends: bool = False, every: bool = True) -> Callable[[Server], Handler]:
    def make(server: Server) -> Handler:
        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await server.request(reader)
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    if len(pieces) > 1:
                        await asyncio.sleep(0)
                if ends or not every:
                    return

        return handler

    return make


def silent(server: Server) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        await reader.read()  # until the client has gone

    return handler


def test_a_connection_is_used_again_and_the_request_is_as_asked():
    async def main() -> None:
        async with serving(answering(PLAIN), suffix="/base?api-version=1") as (server, client):
            for _ in range(3):
                answer = await client.post("/x?y=2", [(b"Host", b"evil"), (b"k", b"v")], b"hello", QUICK)
                assert (answer.status, answer.body) == (200, b"ok")
            assert server.connections == 1
            head = server.requests[0]
            assert head.startswith(b"POST /base/x?y=2&api-version=1 HTTP/1.1\r\nhost: 127.0.0.1:")
            assert b"evil" not in head and b"k: v\r\n" in head and b"accept-encoding: identity" in head

    asyncio.run(main())


@pytest.mark.parametrize(
    "answer",
    [
        PLAIN + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        PLAIN + b"garbage",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=1\r\ncontent-length: 2\r\n\r\nok",
    ],
)
def test_a_connection_that_is_not_clean_is_not_used_again(answer: bytes):
    async def main() -> None:
        async with serving(answering(answer)) as (server, client):
            for _ in range(2):
                assert (await client.post("/", [], b"", QUICK)).body == b"ok"
            assert server.connections == 2

    asyncio.run(main())


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 5000,
        b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + b"y" * 5000,
        b"",
    ],
)
def test_what_is_no_whole_answer_within_bounds_is_a_failure_with_unknown_effect(answer: bytes):
    async def main() -> None:
        bounds = Bounds(head_bytes=2000, body_bytes=2000)
        async with serving(answering(answer, ends=True), bounds=bounds) as (server, client):
            with pytest.raises(UpstreamFailed) as caught:
                await client.post("/", [], b"", QUICK)
            assert caught.value.effect_unknown
            assert len(server.requests) == 1

    asyncio.run(main())


def test_an_error_and_a_redirect_are_answers():
    async def main() -> None:
        for head in (b"429 Slow", b"302 Found\r\nlocation: http://127.0.0.1:1/"):
            async with serving(answering(b"HTTP/1.1 %b\r\ncontent-length: 2\r\n\r\nno" % head)) as (_, client):
                assert (await client.post("/", [], b"", QUICK)).status in (429, 302)

    asyncio.run(main())


def test_what_could_smuggle_a_request_is_refused():
    async def main() -> None:
        client = Outbound("http://127.0.0.1:9")
        for path, value in (("/", b"a\r\nb: c"), ("/", b"a\nb"), ("/", b"a\0"), ("/ x", b"a"), ("/é", b"a")):
            with pytest.raises(InvalidRequest):
                await client.post(path, [(b"k", value)], b"", QUICK)
        for url in ("ftp://x", "http://x:99999", "http://", "http://[::1"):
            with pytest.raises(Misconfigured):
                Outbound(url)

    asyncio.run(main())


def test_a_server_that_is_not_there_is_unavailable():
    async def main() -> None:
        async with serving(silent) as (server, client):
            url = server.url
            del client
        client = Outbound(url)
        with pytest.raises(Unavailable) as caught:
            await client.post("/", [], b"", QUICK)
        assert not caught.value.effect_unknown
        await client.close()

    asyncio.run(main())


def test_deadlines_hold_and_a_full_pool_is_unavailable():
    async def main() -> None:
        async with serving(silent, bounds=Bounds(connections=1)) as (_, client):
            with pytest.raises(DeadlineExceeded) as caught:
                await client.post("/", [], b"", Deadlines(total_s=0.2))
            assert caught.value.effect_unknown
            with pytest.raises(DeadlineExceeded):
                await client.stream("/", [], b"", Deadlines(first_byte_s=0.2))
            busy = asyncio.create_task(client.post("/", [], b"", QUICK))
            await asyncio.sleep(0.05)
            with pytest.raises(Unavailable):
                await client.post("/", [], b"", Deadlines(connect_s=0.1))
            busy.cancel()
            await asyncio.gather(busy, return_exceptions=True)

    asyncio.run(main())


def test_a_stream_that_stops_between_pieces_ends_by_its_deadline():
    async def main() -> None:
        def make(server: Server) -> Handler:
            async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await server.request(reader)
                writer.write(CHUNKED[:-5])
                await reader.read()

            return handler

        async with serving(make) as (_, client):
            stream = await client.stream("/", [], b"", Deadlines(first_byte_s=0.2))
            with pytest.raises(DeadlineExceeded):
                await stream.rest(1000)
            stream.close()
            stream.close()

    asyncio.run(main())


def test_waiters_get_connections_in_turn():
    async def main() -> None:
        async with serving(answering(PLAIN), bounds=Bounds(connections=2)) as (server, client):
            done: list[int] = []

            async def one(index: int) -> None:
                await client.post("/", [], b"", QUICK)
                done.append(index)

            await asyncio.gather(*(one(index) for index in range(30)))
            assert server.connections == 2
            assert max(abs(index - place) for place, index in enumerate(done)) <= 2

    asyncio.run(main())


def test_a_cancelled_call_ends_its_connection():
    async def main() -> None:
        gone = asyncio.Event()

        def make(server: Server) -> Handler:
            async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await server.request(reader)
                writer.write(CHUNKED[:-5])
                with contextlib.suppress(OSError):
                    await reader.read()
                gone.set()

            return handler

        async with serving(make) as (server, client):
            for whole in (True, False):
                gone.clear()

                async def streamed() -> None:
                    await (await client.stream("/", [], b"", QUICK)).rest(1000)

                task = asyncio.create_task(client.post("/", [], b"", QUICK) if whole else streamed())
                await asyncio.sleep(0.1)
                task.cancel()
                await asyncio.wait_for(gone.wait(), 2)
                await asyncio.gather(task, return_exceptions=True)
            assert server.connections == 2

    asyncio.run(main())


def test_a_connection_closed_while_nobody_looked_is_not_used():
    async def main() -> None:
        import socket
        import threading

        listener = socket.create_server(("127.0.0.1", 0))
        received: list[bytes] = []

        def serve() -> None:
            for _ in range(2):
                peer, _ = listener.accept()
                received.append(peer.recv(65536))
                peer.sendall(PLAIN)
                time.sleep(0.1)
                peer.close()

        thread = threading.Thread(target=serve)
        thread.start()
        client = Outbound(f"http://127.0.0.1:{listener.getsockname()[1]}")
        await client.post("/", [], b"", QUICK)
        time.sleep(0.3)
        assert (await client.post("/", [], b"", QUICK)).body == b"ok"
        await client.close()
        thread.join()
        listener.close()
        assert len(received) == 2

    asyncio.run(main())


def test_a_kept_connection_that_ends_after_the_request_is_not_asked_twice():
    async def main() -> None:
        def make(server: Server) -> Handler:
            async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await server.request(reader)
                writer.write(PLAIN)
                await server.request(reader)

            return handler

        async with serving(make) as (server, client):
            await client.post("/", [], b"", QUICK)
            with pytest.raises(UpstreamFailed) as caught:
                await client.post("/", [], b"", QUICK)
            assert caught.value.effect_unknown
            assert (server.connections, len(server.requests)) == (1, 2)

    asyncio.run(main())


def test_a_slow_reader_pauses_the_server_and_still_meets_the_total_deadline():
    async def main() -> None:
        sent = 0

        def make(server: Server) -> Handler:
            async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                nonlocal sent
                await server.request(reader)
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                for _ in range(1000):
                    writer.write(bytes(65536))
                    await writer.drain()
                    sent += 65536

            return handler

        async with serving(make, bounds=Bounds(queue_bytes=65536)) as (_, client):
            stream = await client.stream("/", [], b"", Deadlines(total_s=0.6))
            await asyncio.sleep(0.4)
            paused_at = sent
            assert paused_at < 32 * 2**20  # of 64; the rest is in the kernel's buffers
            assert len(await stream.read()) <= 2**20
            with pytest.raises(DeadlineExceeded):
                while await stream.read():
                    await asyncio.sleep(0.1)
            stream.close()

    asyncio.run(main())


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([PLAIN, CHUNKED, UNTIL_CLOSE, INTERIM]), st.lists(st.integers(1, 90), max_size=6), st.booleans())
def test_borders_of_pieces_change_nothing(answer: bytes, cuts: list[int], streams: bool):
    edges = sorted({0, len(answer), *(cut for cut in cuts if cut < len(answer))})
    pieces = [answer[start:end] for start, end in itertools.pairwise(edges)]

    async def main() -> None:
        async with serving(answering(*pieces, ends=True)) as (_, client):
            if streams:
                stream = await client.stream("/", [], b"", QUICK)
                body = await stream.rest(100)
                stream.close()
            else:
                body = (await client.post("/", [], b"", QUICK)).body
            assert body == (b"ok" if answer == PLAIN else b"abcde")

    asyncio.run(main())


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.binary(max_size=80).map(lambda tail: PLAIN[:17] + tail)))
def test_any_bytes_are_an_answer_or_an_error_of_ours(content: bytes):
    async def main() -> None:
        async with serving(answering(content, ends=True)) as (_, client):
            with contextlib.suppress(SlipwayError):
                await asyncio.wait_for(client.post("/", [], b"", QUICK), 3)

    asyncio.run(main())
