"""Servers that cannot be reached: each way ends within the deadline to connect, and nothing is left behind."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Iterator

import pytest

from slipway.base.errors import Unavailable
from slipway.runtime.outbound import Bounds, Deadlines, Outbound
from tests.unit.runtime.outbound.scripted import LOOPS, Loop, run

QUICK = Deadlines(connect_s=0.3, first_byte_s=5.0, total_s=5.0)


async def refused(client: Outbound, *, within_s: float = 1.5) -> Unavailable:
    """The error of a call that is never sent, plain or streamed; every place is free after it."""
    began_s = time.monotonic()
    with pytest.raises(Unavailable) as plain:
        await client.post("/", [], b"", QUICK)
    with pytest.raises(Unavailable) as streamed:
        await client.stream("/", [], b"", QUICK)
    assert time.monotonic() - began_s < 2 * within_s
    assert plain.value.retryable and not plain.value.effect_unknown
    assert streamed.value.public == plain.value.public
    assert client._connecting == 0 and not client._open and not client._waiting
    await client.close()
    return plain.value


def test_a_name_that_is_not_found(monkeypatch: pytest.MonkeyPatch):
    def unknown(*_args: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def main() -> None:
        error = await refused(Outbound("http://provider.invalid"))
        assert "Name or service not known" in error.detail and "not known" not in error.public

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    asyncio.run(main())


def test_a_name_service_that_does_not_answer(monkeypatch: pytest.MonkeyPatch):
    def stalled(*_args: object, **_options: object) -> None:
        time.sleep(0.8)

    async def main() -> None:
        assert "not connected within 0.3 s" in (await refused(Outbound("http://provider.invalid"))).detail

    monkeypatch.setattr(socket, "getaddrinfo", stalled)
    asyncio.run(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".example"])
def test_a_name_that_cannot_be_one(name: str, loop: Loop):
    async def main() -> None:
        await refused(Outbound(f"http://{name}"), within_s=5.0)

    run(main(), loop)


@pytest.fixture
def full() -> Iterator[int]:
    """The port of a listener whose backlog is full: the kernel drops who knocks."""
    with contextlib.ExitStack() as kept, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = kept.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_connection_that_is_never_made(full: int, scheme: str, loop: Loop):
    async def main() -> None:
        assert "not connected within 0.3 s" in (await refused(Outbound(f"{scheme}://127.0.0.1:{full}"))).detail

    run(main(), loop)


def test_who_waits_behind_connections_that_are_never_made_is_told_so(full: int):
    async def main() -> None:
        client = Outbound(f"http://127.0.0.1:{full}", bounds=Bounds(connections=1))
        calls = (client.post("/", [], b"", QUICK), client.post("/", [], b"", QUICK))
        first, second = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(first, Unavailable) and "cannot be reached" in first.public
        assert isinstance(second, Unavailable) and "in use" in second.public
        assert client._connecting == 0 and not client._waiting
        await client.close()

    asyncio.run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_handshake_that_stalls_or_is_none(loop: Loop):
    async def main() -> None:
        ended = 0

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal ended
            with contextlib.suppress(OSError):
                while await reader.read(65536):
                    pass
            ended += 1
            writer.close()

        async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        for handler, said in ((silent, "not connected within 0.3 s"), (no_tls, "SSL")):
            listener = await asyncio.start_server(handler, "127.0.0.1", 0)
            port = listener.sockets[0].getsockname()[1]
            tls = ssl.create_default_context()
            assert said in (await refused(Outbound(f"https://127.0.0.1:{port}", tls=tls))).detail
            listener.close()
        await asyncio.sleep(0.05)
        assert ended == 2, "connections whose handshake stalled are still open"

    run(main(), loop)
