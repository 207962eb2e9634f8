"""A server that answers request after request with the bytes that a test gave it, and remembers who asked."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvloop

from slipway.base.errors import SlipwayError
from slipway.runtime.outbound import Bounds, Deadlines, Outbound

Loop = Callable[[], asyncio.AbstractEventLoop]
Outcome = tuple[int, bytes] | SlipwayError
LOOPS: Sequence[Loop] = (asyncio.new_event_loop, uvloop.new_event_loop)  # what tests run on, and what serves


def run(main: Coroutine[Any, Any, None], loop: Loop) -> None:
    """Runs a test on a loop of that kind."""
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main)


@dataclass(frozen=True)
class Script:
    """What one request is answered with, piece by piece, and whether the connection ends then."""

    pieces: Sequence[bytes]
    ends: bool = False


@dataclass
class ScriptedServer:
    """Bodies of requests in `asked`, each with the number of the connection that it came over."""

    answers: deque[Script] = field(default_factory=deque)
    asked: list[tuple[int, bytes]] = field(default_factory=list)
    connections: int = 0
    writing: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.asked.append((number, await reader.readexactly(size)))
                if await self._answered(writer):
                    break
        writer.close()

    async def _answered(self, writer: asyncio.StreamWriter) -> bool:
        script = self.answers.popleft()
        self.writing += 1
        try:
            for piece in script.pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)  # so that the client reads this piece by itself
                await asyncio.sleep(0)
        finally:
            self.writing -= 1
        return script.ends

    async def settled(self) -> None:
        """Returns when all that was to be sent has been, and has arrived."""
        while self.writing:
            await asyncio.sleep(0)
        for _ in range(4):
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def scripted(bounds: Bounds | None = None) -> AsyncIterator[tuple[ScriptedServer, Outbound]]:
    server = ScriptedServer()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=2**20)
    client = Outbound(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", bounds=bounds)
    try:
        yield server, client
    finally:
        await client.close()
        listener.close()
        await asyncio.sleep(0)


async def outcome(client: Outbound, body: bytes, deadlines: Deadlines, *, streams: bool) -> Outcome:
    """Status and body of an answer, or the error; anything else that is raised is a defect."""
    try:
        if not streams:
            answer = await client.post("/", [], body, deadlines)
            return answer.status, answer.body
        stream = await client.stream("/", [], body, deadlines)
        try:
            return stream.status, await stream.rest(2**20)
        finally:
            stream.close()
    except SlipwayError as error:
        return error
