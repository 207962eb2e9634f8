"""What one answer may bring and how long it may take: bounds hold to the byte wherever reads begin and end."""

import asyncio
import itertools
import math
import socket
from unittest.mock import create_autospec

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.base.errors import DeadlineExceeded, SlipwayError, UpstreamFailed
from slipway.runtime.outbound import Bounds, Deadlines, Outbound
from slipway.runtime.outbound.connection import Call, Connection
from tests.unit.runtime.outbound.scripted import outcome

BOUND = 300
QUICK = Deadlines(connect_s=2.0, first_byte_s=5.0, total_s=5.0)
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"
cuts = st.lists(st.integers(1, 3 * BOUND), max_size=8)


def read_as(content: bytes, where: list[int]) -> bytes | SlipwayError:
    """What a call gets when reads bring `content` cut exactly there."""

    async def main() -> bytes | SlipwayError:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            transport = create_autospec(asyncio.Transport, instance=True)
            transport.get_extra_info.return_value = ours
            transport.is_closing.return_value = False
            loop = asyncio.get_running_loop()
            connection = Connection(loop, Bounds(head_bytes=BOUND), lambda _: None, lambda _: None)
            connection.connection_made(transport)
            call = Call(loop.create_future(), math.inf, math.inf, math.inf, streams=False)
            connection.send(call, b"", b"")
            edges = sorted({0, len(content), *(cut for cut in where if cut < len(content))})
            for start, end in itertools.pairwise(edges):
                if connection.call is call:
                    connection.data_received(content[start:end])
            assert call.ready.done()
            if call.error is not None:
                assert transport.abort.called
            return call.error or b"".join(call.body)

    return asyncio.run(main())


@settings(max_examples=150, deadline=None)
@given(st.integers(BOUND - 3, BOUND + 3), st.booleans(), st.booleans(), cuts)
def test_a_head_is_bounded_to_the_byte_however_it_is_cut(size: int, interim: bool, chunked: bool, where: list[int]):
    start = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" if interim else b""
    start += b"HTTP/1.1 200 OK\r\n"
    start += b"transfer-encoding: chunked\r\n" if chunked else b"content-length: 2\r\n"
    head = start + b"x: " + b"y" * (size - len(start) - 7) + b"\r\n\r\n"
    assert len(head) == size
    found = read_as(head + (b"2\r\nok\r\n0\r\n\r\n" if chunked else b"ok"), where)
    if size <= BOUND:
        assert found == b"ok"
    else:
        assert isinstance(found, UpstreamFailed)
        assert f"a head of more than {BOUND} bytes" in found.detail
        assert found.effect_unknown and not found.retryable


@settings(max_examples=150, deadline=None)
@given(st.integers(BOUND - 3, BOUND + 3), st.integers(1, 5), cuts)
def test_trailers_are_bounded_to_the_byte_however_they_are_cut(size: int, fields: int, where: list[int]):
    trailers = [b"x: y\r\n"] * (fields - 1)
    trailers.append(b"z: " + b"y" * (size - 6 * (fields - 1) - 5) + b"\r\n")
    assert sum(map(len, trailers)) == size
    found = read_as(CHUNKED + b"0\r\n" + b"".join(trailers) + b"\r\n", where)
    if size <= BOUND:
        assert found == b"ok"
    else:
        assert isinstance(found, UpstreamFailed)
        assert f"trailers of more than {BOUND} bytes" in found.detail
        assert found.effect_unknown and not found.retryable


async def asked(writes, deadlines: Deadlines, *, streams: bool = False) -> tuple[int, bytes] | SlipwayError:
    """What comes of a call to a server that `writes` its answer."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            await writes(writer)
            await reader.read()
        except OSError:
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    client = Outbound(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", bounds=Bounds(head_bytes=BOUND))
    try:
        async with asyncio.timeout(4):
            return await outcome(client, b"", deadlines, streams=streams)
    finally:
        await client.close()
        listener.close()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(
    ("begins", "goes_on"),
    [
        (b"0\r\nx: ", b"y" * 50),
        (b"0\r\n", b"x: y\r\n" * 9),
        (b"5;a=", b"y" * 50),
        (b"0\r\nx:", b" " * 50),
    ],
    ids=["one trailer", "trailers", "an extension of a chunk", "spaces"],
)
def test_what_never_ends_after_a_body_is_ended(begins: bytes, goes_on: bytes, streams: bool):
    sent = 0

    async def writes(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(CHUNKED + begins)
        while True:
            writer.write(goes_on)
            sent += len(goes_on)
            await writer.drain()
            await asyncio.sleep(0)

    found = asyncio.run(asked(writes, QUICK, streams=streams))
    assert isinstance(found, UpstreamFailed) and found.effect_unknown
    assert sent < 2**20


@pytest.mark.parametrize("at_once", [b"", CHUNKED[:-7]], ids=["nothing", "head"])
def test_a_whole_answer_may_begin_late_unless_a_time_for_that_is_stated(at_once: bytes):
    async def writes(writer: asyncio.StreamWriter) -> None:
        writer.write(at_once)
        await asyncio.sleep(0.3)
        writer.write((CHUNKED + b"0\r\n\r\n")[len(at_once) :])

    async def main() -> None:
        assert await asked(writes, Deadlines(first_byte_s=0.1, total_s=5.0)) == (200, b"ok")
        found = await asked(writes, Deadlines(first_byte_s=5.0, whole_first_byte_s=0.1, total_s=5.0))
        assert isinstance(found, DeadlineExceeded) and found.effect_unknown
        found = await asked(writes, Deadlines(first_byte_s=0.1, total_s=5.0), streams=True)
        assert isinstance(found, DeadlineExceeded) and found.effect_unknown

    asyncio.run(main())


@pytest.mark.parametrize("streams", [False, True])
def test_an_answer_that_has_begun_may_not_pause_for_long(streams: bool):
    async def writes(writer: asyncio.StreamWriter) -> None:
        for _ in range(5):
            writer.write(CHUNKED[:-7] if _ == 0 else b"2\r\nok\r\n")
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.6)
        writer.write(b"0\r\n\r\n")

    async def main() -> None:
        found = await asked(writes, Deadlines(first_byte_s=0.4, total_s=5.0), streams=streams)
        assert isinstance(found, DeadlineExceeded)
        assert await asked(writes, Deadlines(first_byte_s=2.0, total_s=5.0), streams=streams) == (200, b"ok" * 4)

    asyncio.run(main())
