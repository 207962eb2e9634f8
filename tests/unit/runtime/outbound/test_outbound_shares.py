"""How places of one server are shared out: whoever takes many leaves as many, and a newcomer is served at once."""

import asyncio
import contextlib

import pytest

from slipway.base.errors import LimitExceeded, Unavailable, UpstreamFailed
from slipway.runtime.outbound import Bounds, Deadlines, Outbound, ShareExceeded, Stream
from tests.unit.runtime.outbound.scripted import Script, ScriptedServer, scripted

QUICK = Deadlines(connect_s=2.0, first_byte_s=5.0, total_s=5.0)
ANSWER = Script([b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"])
BEGUN = Script([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"])


async def filled(server: ScriptedServer, client: Outbound, owner: str) -> list[Stream]:
    """As many streams as `owner` gets; none of them ends."""
    streams: list[Stream] = []
    with contextlib.suppress(ShareExceeded):
        while True:
            server.answers.append(BEGUN)
            streams.append(await client.stream("/", [], b"", QUICK, owner=owner))
    server.answers.pop()
    return streams


def test_owners_that_take_all_they_can_leave_room_for_a_newcomer():
    async def main() -> None:
        async with scripted(Bounds(connections=12)) as (server, client):
            streams = await filled(server, client, "a")
            assert len(streams) == 6
            second = await filled(server, client, "b")
            assert len(second) == 3
            assert len(await filled(server, client, "a")) == 0
            server.answers.append(ANSWER)
            async with asyncio.timeout(1):
                assert (await client.post("/", [], b"", QUICK, owner="c")).body == b"ok"
            with pytest.raises(LimitExceeded) as caught:
                await client.post("/", [], b"", QUICK, owner="a")
            assert caught.value.retry_after_s and not caught.value.effect_unknown
            assert "6 of your calls" in caught.value.public
            for stream in second:
                stream.close()
                stream.close()
            await asyncio.sleep(0)
            assert len(await filled(server, client, "a")) == 0
            for stream in streams[:3]:
                stream.close()
            await asyncio.sleep(0)
            assert client._owned == {"a": 3}
            assert len(await filled(server, client, "a")) == 3

    asyncio.run(main())


def test_the_first_call_of_an_owner_waits_for_a_place_and_a_second_is_refused():
    async def main() -> None:
        async with scripted(Bounds(connections=1)) as (server, client):
            (stream,) = await filled(server, client, "a")
            server.answers.append(ANSWER)
            first = asyncio.create_task(client.post("/", [], b"", QUICK, owner="b"))
            await asyncio.sleep(0.01)
            for owner in ("a", "b"):
                with pytest.raises(ShareExceeded):
                    await client.post("/", [], b"", QUICK, owner=owner)
            stream.close()
            assert (await first).body == b"ok"
            assert not client._owned

    asyncio.run(main())


def test_a_call_counts_until_it_ended_however_it_ends():
    async def main() -> None:
        async with scripted(Bounds(connections=4)) as (server, client):
            for script in (ANSWER, Script([b"nonsense"]), Script([b""], ends=True)):
                server.answers += (script, script)
                with contextlib.suppress(UpstreamFailed):
                    await client.post("/", [], b"", QUICK, owner="a")
                with contextlib.suppress(UpstreamFailed):
                    (await client.stream("/", [], b"", QUICK, owner="a")).close()
                assert not client._owned
            for call in (client.post, client.stream):
                server.answers.append(Script([]))
                task = asyncio.create_task(call("/", [], b"", QUICK, owner="a"))
                await asyncio.sleep(0.01)
                assert client._owned == {"a": 1}
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                assert not client._owned
        with pytest.raises(Unavailable):
            await client.post("/", [], b"", QUICK, owner="a")
        assert not client._owned

    asyncio.run(main())
