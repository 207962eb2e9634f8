"""The provider behind every gateway, in two processes that cost little: nginx for plain answers, a bare protocol on
uvloop for streams. Each counts what it billed.

    python -m bench.gateway.upstream PORT

A model named `stream-N-MS` answers with N events, MS milliseconds apart (0: in one piece), and the usage at the end.
`/stats` says how many requests were billed. Only what the gateways of the benchmark send is understood.
"""

import asyncio
import json
import re
import sys
from functools import cache
from typing import Any

import uvloop

PROMPT_TOKENS, COMPLETION_TOKENS = 12, 9
PLAIN_MODEL = "plain"
MARK = b"tok"  # in each event that carries text
_ASKED = re.compile(rb'"model"\s*:\s*"stream-(\d+)-(\d+)"')
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def stream_model(events: int, interval_ms: int) -> str:
    """The name of a model that streams so."""
    return f"stream-{events}-{interval_ms}"


def plain_answer() -> str:
    """A chat completion of OpenAI's wire, as nginx's `return` gives it."""
    return json.dumps(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1764000000,
            "model": PLAIN_MODEL,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "The answer to this question is a short one."},
                    "finish_reason": "stop",
                }
            ],
            "usage": usage(COMPLETION_TOKENS),
        }
    )


def usage(completion_tokens: int) -> dict[str, int]:
    """What is billed for one request."""
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": completion_tokens,
        "total_tokens": PROMPT_TOKENS + completion_tokens,
    }


def _event(choices: list[dict[str, Any]], **more: Any) -> bytes:
    about = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1764000000, "model": PLAIN_MODEL}
    return _chunk(b"data: " + json.dumps({**about, "choices": choices, **more}).encode() + b"\n\n")


def _chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def _delta(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    return _event([{"index": 0, "delta": delta, "finish_reason": finish_reason}])


_FIRST = _delta({"role": "assistant", "content": "tok"})
# Different ones in turn: LiteLLM ends a stream that repeats the same chunk.
_NEXT = [_delta({"content": f" tok{number}"}) for number in range(10)]


def _end(events: int) -> bytes:
    closing = _delta({}, "stop") + _event([], usage=usage(events))
    return closing + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


@cache
def _burst(events: int) -> bytes:
    return b"".join([_HEAD, _FIRST, *(_NEXT[number % 10] for number in range(1, events)), _end(events)])


class _Billed:
    requests = 0
    tokens = 0


class _Connection(asyncio.Protocol):
    """One connection; a request is answered when its body is here."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._received = b""
        self._transport: Any = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        found = _LENGTH.search(self._received, 0, head_end)
        end = head_end + 4 + (int(found[1]) if found else 0)
        if len(self._received) < end:
            return
        request, self._received = self._received[:end], self._received[end:]
        self._answer(request)

    def _answer(self, request: bytes) -> None:
        if request.startswith(b"GET /stats"):
            body = json.dumps({"requests": _Billed.requests, "tokens": _Billed.tokens}).encode()
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            self._transport.write(head + body)
        elif asked := _ASKED.search(request):
            events, interval_ms = int(asked[1]), int(asked[2])
            _Billed.requests += 1
            _Billed.tokens += PROMPT_TOKENS + events
            if interval_ms:
                self._transport.write(_HEAD + _FIRST)
                self._pace(events, events - 1, interval_ms / 1000, self._loop.time())
            else:
                self._transport.write(_burst(events))
        else:
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    def _pace(self, events: int, left: int, interval_s: float, before: float) -> None:
        due = before + interval_s

        def fire() -> None:
            if left:
                self._transport.write(_NEXT[left % 10])
                self._pace(events, left - 1, interval_s, due)
            else:
                self._transport.write(_end(events))

        self._timer = self._loop.call_at(due, fire)


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(loop), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
