"""The client's transport against a real server on loopback and against answers of every kind."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from slipway.api.client import Client
from slipway.api.transport import Event, Transport, _lines, error_of
from slipway.base.errors import ERRORS, DeadlineExceeded, InvalidRequest, SlipwayError, Unavailable, UpstreamFailed
from slipway.runtime.http.events import encode_event
from slipway.runtime.http.problems import headers_of, problem
from slipway.services.gateway.wire import error_body

pytestmark = pytest.mark.anyio

Answering = Callable[[httpx.Request], httpx.Response]


@asynccontextmanager
async def answered(answer: Answering, **carried: Any) -> AsyncIterator[Transport]:
    """A transport whose requests `answer` answers."""
    client = httpx.AsyncClient(base_url="http://parts", transport=httpx.MockTransport(answer))
    transport = Transport(client, **carried)
    try:
        yield transport
    finally:
        await transport.close()


@pytest.mark.parametrize("code", sorted(ERRORS))
async def test_every_error_comes_back_as_it_left(code: str):
    error = ERRORS[code]("Say this.", detail="private", retryable=True, retry_after_s=7.0)
    status, headers, body = problem(error, "req_1")
    back = error_of(status, headers, json.dumps(body).encode())
    assert type(back) is ERRORS[code]
    assert (back.public, back.retryable, back.retry_after_s) == ("Say this.", True, 7.0)
    assert "private" not in json.dumps(body)


@pytest.mark.parametrize("code", sorted(set(ERRORS) - {"misconfigured"}))
async def test_every_error_of_the_openai_wire_comes_back_by_its_status(code: str):
    error = ERRORS[code]("Say this.")
    back = error_of(error.status, headers_of(error), json.dumps(error_body(error)).encode())
    assert (type(back), back.public) == (ERRORS[code], "Say this.")


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (503, b"<html>away</html>", "unavailable"),
        (418, b"", "invalid_request"),
        (599, b"", "internal"),
        (503, b'{"detail": "Later.", "code": "of a newer server"}', "unavailable"),
        (503, b'{"detail": "Later.", "code": ["odd"]}', "unavailable"),
        (400, b'["a list"]', "invalid_request"),
        (422, b'{"detail": [{"loc": []}]}', "invalid_request"),
        (500, b"\xff\xfe", "internal"),
    ],
)
async def test_answers_that_are_no_problem_are_judged_by_their_status(status: int, content: bytes, kind: str):
    assert error_of(status, {}, content).code == kind


async def test_a_read_is_tried_again_and_a_write_is_not():
    asked: list[str] = []

    def busy(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        if len(asked) < 3 and request.method == "GET":
            return httpx.Response(503, headers={"retry-after": "0"})
        return httpx.Response(200 if request.method == "GET" else 503)

    async with answered(busy) as transport:
        assert (await transport.request("GET", "/x")).status_code == 200
        assert asked == ["GET"] * 3
        asked.clear()
        with pytest.raises(Unavailable):
            await transport.request("POST", "/x", body={})
        assert asked == ["POST"]


async def test_a_read_is_given_up_after_three_times_and_other_errors_at_once():
    asked: list[int] = []

    def failing(request: httpx.Request) -> httpx.Response:
        asked.append(1)
        return httpx.Response(int(request.url.params["status"]))

    async with answered(failing) as transport:
        for status, times in ((503, 3), (500, 1), (404, 1), (429, 1), (504, 1)):
            asked.clear()
            with pytest.raises(SlipwayError):
                await transport.request("GET", "/x", query={"status": status})
            assert len(asked) == times, status


async def test_a_server_that_asks_for_a_long_pause_is_not_waited_for():
    async with answered(lambda _: httpx.Response(503, headers={"retry-after": "3600"})) as transport:
        with pytest.raises(Unavailable) as caught:
            await asyncio.wait_for(transport.request("GET", "/x"), 2)
        assert caught.value.retry_after_s == 3600


async def test_a_write_that_never_reached_the_server_is_tried_again():
    tried = 0

    def refuse(request: httpx.Request) -> httpx.Response:
        nonlocal tried
        tried += 1
        if tried < 3:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(201)

    async with answered(refuse) as transport:
        assert (await transport.request("POST", "/x", body={"a": 1})).status_code == 201
        tried = 0

        async def once() -> AsyncIterator[bytes]:
            yield b"x"

        with pytest.raises(Unavailable):
            await transport.request("POST", "/x", content=once())
        assert tried == 1, "a body that can be read once is sent once"


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (httpx.ConnectTimeout("x"), Unavailable),
        (httpx.PoolTimeout("x"), Unavailable),
        (httpx.ReadTimeout("x"), DeadlineExceeded),
        (httpx.ReadError("x"), Unavailable),
        (httpx.RemoteProtocolError("x"), Unavailable),
        (httpx.UnsupportedProtocol("x"), InvalidRequest),
        (httpx.DecodingError("x"), UpstreamFailed),
    ],
)
async def test_what_httpx_raises_becomes_ours(raised: Exception, kind: type[SlipwayError]):
    def broken(request: httpx.Request) -> httpx.Response:
        raise raised

    async with answered(broken) as transport:
        with pytest.raises(kind) as caught:
            await transport.request("POST", "/x")
        assert caught.value.__cause__ is raised


async def test_a_server_that_says_nothing_runs_into_the_deadline():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        async with Client(f"http://127.0.0.1:{silent.getsockname()[1]}", api_key="k", timeout_s=0.1) as client:
            with pytest.raises(DeadlineExceeded):
                await asyncio.wait_for(client.collection_list(), 5)


async def test_nobody_there_is_said_with_what_to_do():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with Client(f"http://127.0.0.1:{port}", api_key="k") as client:
        with pytest.raises(Unavailable, match="slipway up"):
            await client.session_list()


async def test_each_request_asks_for_its_credential_and_its_context():
    seen: list[httpx.Headers] = []

    def note(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(200)

    numbers = iter(range(9))
    carried = {"credential": lambda: f"token-{next(numbers)}", "context": lambda: {"traceparent": f"t{len(seen)}"}}
    async with answered(note, **carried) as transport:
        await transport.request("GET", "/x")
        await transport.acting(lambda: "another").request("POST", "/x", headers={"accept": "text/plain"})
        async with transport.stream("POST", "/x", headers={"authorization": "Bearer given"}):
            pass
    assert [headers["authorization"] for headers in seen] == ["Bearer token-0", "Bearer another", "Bearer given"]
    assert [headers["traceparent"] for headers in seen] == ["t0", "t1", "t2"]
    assert seen[1]["accept"] == "text/plain"


EVENTS = [
    ("token", {"text": "line\u2028separator, next\u0085line, \x0b and \x1e, and 日本語 🙂"}),
    ("citations", {"citations": []}),
    ("done", {"session_id": "ses_1"}),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
async def test_events_come_whole_however_they_are_cut(size: int, end: bytes):
    content = b": a comment\n\n" + b"".join(encode_event(name, data) for name, data in EVENTS)
    content += b"data: first\ndata:second\nid: 7\nretry: 5\n\n" + b"event: cut off\ndata: {}\n"
    content = content.replace(b"\n", end)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(content), size):
            yield content[at : at + size]

    def stream(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept"] == "text/event-stream"
        return httpx.Response(200, content=pieces())

    async with answered(stream) as transport:
        got = [event async for event in transport.events("POST", "/x", body={})]
    assert got == [*(Event(name, data) for name, data in EVENTS), Event("message", "first\nsecond")]


async def test_lines_end_at_the_end_of_the_stream_with_a_lone_carriage_return():
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"a\r", b"\nb\r", b"\r", b"c", b"\r"):
            yield piece

    assert [line async for line in _lines(pieces())] == ["a", "b", "", "c"]


async def test_a_stream_that_is_refused_raises_what_the_server_meant():
    status, headers, body = problem(ERRORS["not_found"]("No such session."), "req_1")
    async with answered(lambda _: httpx.Response(status, headers=headers, json=body)) as transport:
        with pytest.raises(ERRORS["not_found"], match="No such session"):
            async for _ in transport.events("GET", "/x"):
                raise AssertionError("there is no event")


async def test_a_stream_that_breaks_off_is_an_error_and_not_an_end():
    async def breaking() -> AsyncIterator[bytes]:
        yield encode_event("token", {"text": "a"})
        raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")

    got = []
    async with answered(lambda _: httpx.Response(200, content=breaking())) as transport:
        with pytest.raises(Unavailable):
            async for event in transport.events("GET", "/x"):
                got.append(event.name)
    assert got == ["token"]
