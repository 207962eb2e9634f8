"""The pool of the client of servers outside: who gets a place, and that none is lost; what leaves the process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from slipway.base.errors import InvalidRequest, Unavailable, UpstreamFailed
from slipway.runtime.outbound import Bounds, Deadlines, Outbound

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
QUICK = Deadlines(connect_s=2.0, first_byte_s=5.0, total_s=5.0)
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def request(reader: asyncio.StreamReader) -> None:
    await reader.readuntil(b"\r\n\r\n")  # calls here have no body


@contextlib.asynccontextmanager
async def serving(handler: Handler, bounds: Bounds | None = None) -> AsyncIterator[Outbound]:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.close()

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    client = Outbound(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", bounds=bounds)
    try:
        yield client
    finally:
        await client.close()
        listener.close()
        await asyncio.sleep(0.02)


async def echoing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await request(reader)
        writer.write(PLAIN)


async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize("handler", [echoing, once])
def test_a_later_call_never_takes_the_place_of_one_that_waits(handler: Handler):
    async def main() -> None:
        async with serving(handler, Bounds(connections=1)) as client:
            done: list[int] = []

            async def one(index: int) -> None:
                await client.post("/", [], b"", QUICK)
                done.append(index)
                if index < 10:  # comes in again just when a place is free
                    await one(index + 100)

            await asyncio.gather(*(one(index) for index in range(20)))
            assert done[:20] == list(range(20))
            assert done[20:] == list(range(100, 110))

    asyncio.run(main())


@pytest.mark.parametrize("handler", [echoing, once, silent])
def test_calls_cancelled_anywhere_leave_every_place_free(handler: Handler):
    async def main() -> None:
        async with serving(handler, Bounds(connections=3)) as client:
            for steps in range(25):
                tasks = [asyncio.create_task(client.post("/", [], b"", QUICK)) for _ in range(8)]
                for _ in range(steps):
                    await asyncio.sleep(0)
                for task in tasks[:: 2 if handler is not silent else 1]:
                    task.cancel()
                for result in await asyncio.gather(*tasks, return_exceptions=True):
                    assert not isinstance(result, Exception)  # a cancellation is none
            await asyncio.sleep(0.05)
            assert client._connecting == 0
            assert not client._waiting
            assert len(client._open) == len(client._idle) <= 3
            if handler is not silent:
                results = await asyncio.gather(*(client.post("/", [], b"", QUICK) for _ in range(12)))
                assert all(answer.body == b"ok" for answer in results)

    asyncio.run(main())


def test_who_gave_up_waiting_is_not_kept():
    async def main() -> None:
        async with serving(silent, Bounds(connections=1)) as client:
            busy = asyncio.create_task(client.post("/", [], b"", QUICK))
            await asyncio.sleep(0.05)
            short = Deadlines(connect_s=0.05)
            refused = await asyncio.gather(
                *(client.post("/", [], b"", short) for _ in range(100)), return_exceptions=True
            )
            assert all(isinstance(error, Unavailable) and not error.effect_unknown for error in refused)
            assert not client._waiting
            busy.cancel()
            await asyncio.gather(busy, return_exceptions=True)

    asyncio.run(main())


def test_a_connection_that_expires_on_its_way_to_who_waits_frees_its_place():
    async def main() -> None:
        async with serving(echoing, Bounds(connections=1, idle_s=1e-9)) as client:
            for _ in range(3):
                answers = await asyncio.gather(*(client.post("/", [], b"", QUICK) for _ in range(5)))
                assert all(answer.body == b"ok" for answer in answers)

    asyncio.run(main())


def test_stopping_says_of_each_call_whether_it_was_sent():
    async def main() -> None:
        async with serving(silent, Bounds(connections=1)) as client:
            sent = asyncio.create_task(client.post("/", [], b"", QUICK))
            await asyncio.sleep(0.05)
            waits = asyncio.create_task(client.post("/", [], b"", QUICK))
            await asyncio.sleep(0.05)
            await client.close()
            for task, unknown in ((sent, True), (waits, False)):
                with pytest.raises(Unavailable) as caught:
                    await task
                assert caught.value.effect_unknown is unknown
            with pytest.raises(Unavailable):
                await client.post("/", [], b"", QUICK)
            assert not client._open and client._connecting == 0

    asyncio.run(main())


def test_idle_connections_end_when_nothing_else_happens():
    async def main() -> None:
        async with serving(echoing, Bounds(idle_s=0.1)) as client:
            await client.post("/", [], b"", QUICK)
            assert len(client._open) == 1
            await asyncio.sleep(0.3)
            assert not client._open and not client._idle and client._sweep is None

    asyncio.run(main())


def test_reading_a_finished_stream_does_not_touch_the_next_call_of_its_connection():
    async def main() -> None:
        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await request(reader)
            writer.write(PLAIN)
            await request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 50000000\r\n\r\n")
            for _ in range(500):
                writer.write(bytes(100_000))
                await writer.drain()

        async with serving(handler, Bounds(queue_bytes=65536)) as client:
            first = await client.stream("/", [], b"", QUICK)
            second = await client.stream("/", [], b"", QUICK)
            assert first._connection is second._connection
            await asyncio.sleep(0.2)
            assert second._connection._paused
            assert await first.read() == b"ok"
            assert second._connection._paused
            largest = size = 0
            while piece := await second.read():
                size += len(piece)
                largest = max(largest, len(piece))
                await asyncio.sleep(0)
            assert size == 50_000_000 and largest < 2**20

    asyncio.run(main())


def test_an_encoding_that_nobody_asked_for_fails_before_its_body():
    async def main() -> None:
        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 9\r\n\r\nx")
            await reader.read()

        async with serving(handler) as client:
            async with asyncio.timeout(1):
                with pytest.raises(UpstreamFailed) as caught:
                    await client.post("/", [], b"", QUICK)
            assert caught.value.effect_unknown

    asyncio.run(main())


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_an_answer_that_has_no_body_ends_with_its_head(status: bytes):
    async def main() -> None:
        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await request(reader)
            writer.write(b"HTTP/1.1 " + status + b"\r\n\r\n")
            await reader.read()

        async with serving(handler) as client, asyncio.timeout(1):
            answer = await client.post("/", [], b"", QUICK)
            assert (answer.status, answer.body) == (int(status[:3]), b"")

    asyncio.run(main())


def test_a_length_beside_chunks_is_no_answer():
    async def main() -> None:
        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await request(reader)
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            )
            await reader.read()

        async with serving(handler) as client:
            with pytest.raises(UpstreamFailed):
                await client.post("/", [], b"", QUICK)

    asyncio.run(main())


@pytest.mark.parametrize("path", ["/a\tb", "/a b", "/a\r\nb", "/\x7f", ""])
def test_a_path_that_could_end_a_request_line_is_refused(path: str):
    with pytest.raises(InvalidRequest):
        asyncio.run(Outbound("http://127.0.0.1:9").post(path, [], b"", QUICK))


@pytest.mark.parametrize("name", [b"", b"a b", b"a:b", b"a\r\nb", b" a"])
def test_a_name_that_is_no_header_is_refused(name: bytes):
    with pytest.raises(InvalidRequest):
        asyncio.run(Outbound("http://127.0.0.1:9").post("/", [(name, b"v")], b"", QUICK))


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch):
    async def main() -> None:
        async with serving(echoing) as client:
            assert (await client.post("/", [], b"", QUICK)).body == b"ok"

    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    asyncio.run(main())
