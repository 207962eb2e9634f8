"""What a call to a model provider costs in CPU: our client beside httpx, against one small server in another process.

    python -m bench.outbound

Rounds of the two alternate, because other work on the machine comes and goes, and the best round of each counts. CPU is
user and system time of the client's process, on uvloop, 8 calls at a time; system calls are in it.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection

import httpx
import uvloop

from slipway.runtime.outbound import Deadlines, Outbound

ROUNDS, CALLS, TOGETHER = 10, 2000, 8
BODY = b'{"model":"m","messages":[{"role":"user","content":"' + b"x" * 400 + b'"}]}'
HEADERS = ((b"content-type", b"application/json"), (b"authorization", b"Bearer " + b"k" * 40))
ANSWER_BODY = b'{"choices":[{"message":{"content":"' + b"y" * 600 + b'"}}]}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(ANSWER_BODY),
    ANSWER_BODY,
)


class Server(asyncio.Protocol):
    """Answers each request when its body has come."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.pending = b""

    def data_received(self, data: bytes) -> None:
        self.pending += data
        if self.pending.endswith(BODY):
            self.pending = b""
            self.transport.write(ANSWER)  # type: ignore[attr-defined]


def serve(told: Connection) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


async def cost_us(call: Callable[[], Awaitable[object]], calls: int) -> float:
    """Microseconds of CPU of one call."""

    async def several() -> None:
        for _ in range(calls // TOGETHER):
            await call()

    began = time.process_time()
    await asyncio.gather(*(several() for _ in range(TOGETHER)))
    return (time.process_time() - began) * 1e6 / calls


async def costs_us(url: str) -> tuple[float, float]:
    deadlines = Deadlines()
    ours = Outbound(url)
    names = [(name.decode(), value.decode()) for name, value in HEADERS]
    best = [float("inf"), float("inf")]
    async with httpx.AsyncClient(trust_env=False) as theirs:
        for _ in range(ROUNDS):
            best[0] = min(best[0], await cost_us(lambda: ours.post("/v1/chat", HEADERS, BODY, deadlines), CALLS))
            best[1] = min(
                best[1],
                await cost_us(lambda: theirs.post(url + "/v1/chat", headers=names, content=BODY), CALLS // 10),
            )
    await ours.close()
    return best[0], best[1]


def main() -> None:
    context = multiprocessing.get_context("spawn")
    told, tells = context.Pipe(duplex=False)
    server = context.Process(target=serve, args=(tells,), daemon=True)
    server.start()
    try:
        ours, theirs = uvloop.run(costs_us(f"http://127.0.0.1:{told.recv()}"))
    finally:
        server.terminate()
        server.join()
    print(f"slipway.runtime.outbound  {ours:>8.1f} µs of CPU a request")
    print(f"httpx                     {theirs:>8.1f} µs of CPU a request, {theirs / ours:.0f} times ours")


if __name__ == "__main__":
    main()
