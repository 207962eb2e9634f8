"""A client of raw sockets in a process of its own: paced streams, time to first token, exact counts of requests.

    python -m bench.gateway.client SPEC    (made by the functions below)

`paced` opens streams and, once all of them flow, says when its window begins and ends, so that the processes in between
can be sampled; openings and endings lie outside of it. `exact` sends a number of requests, no more and no less.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvloop

from bench.gateway.accounting import cpu_ns, spent_ns
from bench.gateway.peers import ROOT, Target
from bench.gateway.upstream import MARK, PLAIN_MODEL
from bench.gateway.wrk import request_body

_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_DONE = b"data: [DONE]"
_DEADLINE_S = 120.0


@dataclass(frozen=True)
class Paced:
    """A window in which every stream flowed."""

    events: int
    reads: int
    seconds: float
    cpu_ns: int
    own_cpu_ns: int


def paced(target: Target, model: str, streams: int, window_s: float) -> Paced:
    """CPU of the target while `streams` streams flow."""
    with _client("paced", target, model, connections=streams, window_s=window_s) as process:
        assert process.stdout is not None
        _told(process)
        pids = target.pids()
        before = cpu_ns(pids)
        told = _told(process)
        after = cpu_ns(pids)
        _ended(process)
        own = set((target.own_pids or target.pids)())
        return Paced(
            told["events"],
            told["reads"],
            told["seconds"],
            spent_ns(before, after),
            sum(used - before[pid] for pid, used in after.items() if pid in own),
        )


def exact(target: Target, model: str, connections: int, requests: int) -> dict[str, Any]:
    """Answers of exactly so many requests: `answered`, `tokens` by their usage, `ttft_ms` of each stream."""
    with _client("exact", target, model, connections=connections, requests=requests) as process:
        told = _told(process)
        _ended(process)
        return told


def _client(kind: str, target: Target, model: str, **more: Any) -> "subprocess.Popen[str]":
    spec = {
        "kind": kind,
        "name": target.name,
        "port": target.port,
        "path": target.path(model),
        "headers": dict(target.headers),
        "body": request_body(model),
        "streamed": model != PLAIN_MODEL,
        **more,
    }
    command = [sys.executable, "-m", "bench.gateway.client", json.dumps(spec)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=dict(os.environ))


def _told(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"the client of streams failed with code {process.wait(10)}")
    told: dict[str, Any] = json.loads(line)
    return told


def _ended(process: "subprocess.Popen[str]") -> None:
    """Each stream must have come to its end, with its usage."""
    process.communicate(timeout=_DEADLINE_S)
    if process.returncode:
        raise SystemExit(f"the client of streams failed with code {process.returncode}")


class _Connection(asyncio.Protocol):
    """One keep-alive connection; one request at a time."""

    def __init__(self, spec: dict[str, Any]) -> None:
        body = spec["body"].encode()
        head = [f"POST {spec['path']} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
        head += [f"{name}: {value}" for name, value in spec["headers"].items()]
        self._request = "\r\n".join([*head, f"content-length: {len(body)}", "", ""]).encode() + body
        self._streamed: bool = spec["streamed"]
        self._name: str = spec["name"]
        self._transport: Any = None
        self._finished: asyncio.Future[bytes] | None = None
        self._received = bytearray()
        self.events = self.reads = 0
        self.sent_at = self.first_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def ask(self) -> asyncio.Future[bytes]:
        """Sends the request; the whole answer as received."""
        self._received.clear()
        self.events = self.reads = 0
        self.first_at = 0.0
        self._finished = asyncio.get_running_loop().create_future()
        self.sent_at = time.perf_counter()
        self._transport.write(self._request)
        return self._finished

    def data_received(self, data: bytes) -> None:
        seen = max(0, len(self._received) - 5)
        self._received += data
        self.reads += 1
        self.events += self._received.count(b"data: ", seen)
        if not self.first_at and MARK in data:
            self.first_at = time.perf_counter()
        if self._ended() and self._finished and not self._finished.done():
            self._finished.set_result(bytes(self._received))

    def _ended(self) -> bool:
        if self._streamed and self._received.startswith(b"HTTP/1.1 200"):
            return self._received.endswith(b"0\r\n\r\n") and _DONE in self._received[-200:]
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return False
        found = _LENGTH.search(self._received, 0, head_end)
        return found is not None and len(self._received) >= head_end + 4 + int(found[1])

    def connection_lost(self, exc: Exception | None) -> None:
        if self._finished and not self._finished.done():
            self._finished.set_exception(
                ConnectionError(f"{self._name} closed the connection ({exc}): {bytes(self._received[-600:])!r}")
            )


def _tokens(answer: bytes, name: str) -> int:
    if not answer.startswith(b"HTTP/1.1 200"):
        raise AssertionError(f"{name} answered {answer[:1000]!r}")
    found = re.findall(rb'"total_tokens":\s*(\d+)', answer)
    if not found:
        raise AssertionError(f"{name} answered without usage: {answer[-1000:]!r}")
    return int(found[-1])


async def _connections(spec: dict[str, Any], make: Callable[[], _Connection]) -> list[_Connection]:
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(make, "127.0.0.1", spec["port"]) for _ in range(spec["connections"])]
    return [connection for _, connection in opened]


async def _paced(spec: dict[str, Any]) -> None:
    connections = await _connections(spec, lambda: _Connection(spec))
    answers = []
    for connection in connections:
        answers.append(connection.ask())
        await asyncio.sleep(0.003)  # so that the streams' events do not fall together
    deadline = time.monotonic() + 20
    while not all(connection.first_at for connection in connections):
        if time.monotonic() > deadline or any(answer.done() for answer in answers):
            raise AssertionError(f"not all streams of {spec['name']} flow")
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)

    def count() -> tuple[int, int, float]:
        return sum(one.events for one in connections), sum(one.reads for one in connections), time.perf_counter()

    print("{}", flush=True)
    begun = count()
    await asyncio.sleep(spec["window_s"])
    ended = count()
    if any(answer.done() for answer in answers):
        raise AssertionError("a stream ended within the window")
    told = dict(zip(("events", "reads", "seconds"), (b - a for a, b in zip(begun, ended, strict=True)), strict=True))
    print(json.dumps(told), flush=True)
    for answer in await asyncio.gather(*answers):
        _tokens(answer, spec["name"])


async def _exact(spec: dict[str, Any]) -> None:
    connections = await _connections(spec, lambda: _Connection(spec))
    left = spec["requests"]
    tokens = answered = 0
    ttft_ms: list[float] = []

    async def work(connection: _Connection) -> None:
        nonlocal left, tokens, answered
        while left > 0:
            left -= 1
            answer = await connection.ask()
            tokens += _tokens(answer, spec["name"])
            answered += 1
            if spec["streamed"]:
                ttft_ms.append((connection.first_at - connection.sent_at) * 1000)

    await asyncio.gather(*map(work, connections))
    print(json.dumps({"answered": answered, "tokens": tokens, "ttft_ms": ttft_ms}), flush=True)


async def _main(spec: dict[str, Any]) -> None:
    await asyncio.wait_for((_paced if spec["kind"] == "paced" else _exact)(spec), _DEADLINE_S)


if __name__ == "__main__":
    uvloop.run(_main(json.loads(sys.argv[1])))
