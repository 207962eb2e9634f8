"""Answers of every kind, cut anywhere and broken anywhere: each call ends, and the next one gets its own answer.

What h11 reads as an answer and this client too has to be the same answer to both.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import h11
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway.base.errors import SlipwayError
from slipway.runtime.outbound import Bounds, Deadlines, client
from tests.unit.runtime.outbound.scripted import LOOPS, Loop, Outcome, Script, outcome, run, scripted

PATIENT = Deadlines(connect_s=5.0, first_byte_s=5.0, total_s=5.0)
HASTY = Deadlines(connect_s=5.0, first_byte_s=0.03, total_s=0.06)
BOUNDS = Bounds(head_bytes=4096, body_bytes=65536)
FRAGMENTS = [
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b";", b"0\r\n\r\n", b"\r\n\r\n", b"-1", b"f" * 20, b"HTTP/1.1 "),
    *(b"content-length: 3\r\n", b"Content-Length: 0\r\n", b"transfer-encoding: chunked\r\n", b"connection: close\r\n"),
    *(b"transfer-encoding: identity\r\n", b"x: " + b"y" * 5000, b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"),
    *(b"HTTP/1.1 100 Continue\r\n\r\n", b"upgrade: h2c\r\nconnection: upgrade\r\n", b"\x80\xff"),
]


@dataclass(frozen=True)
class Message:
    """The bytes of one answer and what it says; one that `ends` has no other end than the connection's."""

    content: bytes
    status: int
    body: bytes
    ends: bool = False


small = st.binary(max_size=60)
fields = st.sampled_from(
    [b"", b"server: x\r\n", b"x-empty:\r\n", b"Keep-Alive: timeout=20\r\n", b"connection: keep-alive\r\na: b\r\n"]
)
codes = st.sampled_from([200, 201, 302, 400, 429, 503])


@st.composite
def plain(draw: st.DrawFn) -> Message:
    status, body = draw(codes), draw(small)
    head = b"HTTP/1.1 %d X\r\n%bContent-Length: %d\r\n\r\n" % (status, draw(fields), len(body))
    return Message(head + body, status, body)


def chunks(pieces: list[bytes], extension: bytes, trailer: bytes) -> bytes:
    written = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces if piece)
    return written + b"0\r\n" + trailer + b"\r\n"


@st.composite
def chunked(draw: st.DrawFn) -> Message:
    status, pieces = draw(codes), draw(st.lists(small, max_size=4))
    extension, trailer = draw(st.sampled_from([b"", b";a=b"])), draw(st.sampled_from([b"", b"x-trailer: y\r\n"]))
    head = b"HTTP/1.1 %d X\r\ntransfer-encoding: chunked\r\n%b\r\n" % (status, draw(fields))
    return Message(head + chunks(pieces, extension, trailer), status, b"".join(pieces))


@st.composite
def events(draw: st.DrawFn) -> Message:
    texts = draw(st.lists(st.text("abc\u00e9", max_size=8), min_size=1, max_size=5))
    pieces = [b"data: %b\n\n" % text.encode() for text in texts]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return Message(head + chunks(pieces, b"", b""), 200, b"".join(pieces))


@st.composite
def bodiless(draw: st.DrawFn) -> Message:
    status = draw(st.sampled_from([204, 304]))
    length = b"content-length: 7\r\n" if status == 304 and draw(st.booleans()) else b""
    return Message(b"HTTP/1.1 %d X\r\n%b%b\r\n" % (status, draw(fields), length), status, b"")


@st.composite
def until_close(draw: st.DrawFn) -> Message:
    status, body = draw(codes), draw(small)
    return Message(b"HTTP/1.%d %d X\r\n\r\n%b" % (draw(st.sampled_from([0, 1])), status, body), status, body, ends=True)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    last = draw(st.one_of(plain(), chunked(), events(), bodiless(), until_close()))
    interim = draw(st.sampled_from([b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 H\r\nlink: x\r\n\r\n"]))
    return Message(interim + last.content, last.status, last.body, last.ends)


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    content = draw(messages()).content
    for _ in range(draw(st.integers(1, 3))):
        at, to = sorted((draw(st.integers(0, len(content))), draw(st.integers(0, len(content)))))
        change = draw(st.sampled_from(["insert", "append", "delete", "repeat", "flip", "cut"]))
        if change == "insert":
            content = content[:at] + draw(st.sampled_from(FRAGMENTS)) + content[at:]
        elif change == "append":
            content += draw(st.sampled_from(FRAGMENTS))
        elif change == "delete":
            content = content[:at] + content[min(to, at + 20) :]
        elif change == "repeat":
            content = content[:to] + content[at:to] + content[to:]
        elif change == "flip" and at < len(content):
            content = content[:at] + draw(st.binary(min_size=1, max_size=1)) + content[at + 1 :]
        else:
            content = content[:to]
    return content


cuts = st.lists(st.integers(1, 200), max_size=8)


def pieces_of(content: bytes, where: list[int]) -> list[bytes]:
    edges = sorted({0, len(content), *(cut for cut in where if cut < len(content))})
    return [content[start:end] for start, end in itertools.pairwise(edges)]


def read_by_h11(content: bytes, *, ends: bool) -> tuple[int, bytes] | None:
    """What h11 makes of the bytes, or nothing when to it they are no whole answer."""
    other = h11.Connection(h11.CLIENT)
    other.send(h11.Request(method="POST", target="/", headers=[("host", "x"), ("content-length", "0")]))
    other.send(h11.EndOfMessage())
    status, body = 0, b""
    try:
        other.receive_data(content)
        if ends:
            other.receive_data(b"")
        while True:
            event = other.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return status, body
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.RemoteProtocolError:
        return None


@pytest.fixture(autouse=True)
def quick_sweep(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(client, "_SWEEP_S", 0.01)
    yield


def twice(script: Script, deadlines: Deadlines, check: Callable[[Outcome], None], loop: Loop, *, streams: bool) -> None:
    """One call that is answered by the script, then one that must get its own answer."""

    async def main() -> None:
        async with scripted(BOUNDS) as (server, outbound), asyncio.timeout(5):
            server.answers.append(script)
            first = await outcome(outbound, b"first", deadlines, streams=streams)
            await server.settled()
            server.answers.append(Script([b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond"]))
            assert await outcome(outbound, b"second", PATIENT, streams=False) == (200, b"second")
            assert [body for _, body in server.asked] == [b"first", b"second"]
            if isinstance(first, SlipwayError):
                assert server.asked[0][0] != server.asked[1][0], "a connection that had an error was used again"
            check(first)

    run(main(), loop)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages(), cuts, st.booleans(), st.booleans(), st.sampled_from(LOOPS))
def test_good_answers_arrive_however_they_are_cut(
    message: Message, where: list[int], ends: bool, streams: bool, loop: Loop
):
    def check(first: Outcome) -> None:
        assert first == (message.status, message.body)

    twice(Script(pieces_of(message.content, where), ends or message.ends), PATIENT, check, loop, streams=streams)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(broken(), cuts, st.integers(0, 4), st.booleans(), st.sampled_from(LOOPS))
def test_broken_answers_end_and_never_reach_the_next_request(
    content: bytes, where: list[int], chance: int, streams: bool, loop: Loop
):
    ends = chance > 0

    def check(first: Outcome) -> None:
        other = read_by_h11(content, ends=ends)
        if not isinstance(first, SlipwayError) and other is not None:
            assert first == other

    twice(Script(pieces_of(content, where), ends), HASTY if not ends else PATIENT, check, loop, streams=streams)
