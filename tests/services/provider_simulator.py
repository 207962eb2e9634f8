"""A model provider that speaks OpenAI's documented wire on loopback, and what it saw: what no real one can be had for.

The model's id chooses how it behaves. It runs in a thread of its own, so that synchronous SDKs can be the client.
"""

import asyncio
import base64
import json
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

KEY = "sk-upstream-0123456789"
WORDS = ("Fourteen", " days", ",", " says", " the", " handbook", ".")
USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 3},
}


@dataclass
class Seen:
    """What reached the provider."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    by_model: Counter[str] = field(default_factory=Counter)
    clients: set[tuple[str, int]] = field(default_factory=set)
    hung_up: Counter[str] = field(default_factory=Counter)
    hung_up_at_s: dict[str, float] = field(default_factory=dict)


class Simulator:
    """The ASGI application; `seen` is what it got."""

    def __init__(self) -> None:
        self.seen = Seen()
        self.recovers_after = 2

    async def __call__(self, scope, receive, send) -> None:
        assert scope["type"] == "http"
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        request = json.loads(body)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.seen.requests.append(request)
        self.seen.headers.append(headers)
        self.seen.clients.add(tuple(scope["client"]))
        model = request["model"]
        self.seen.by_model[model] += 1
        answer = Answer(send)
        if headers.get("authorization") != f"Bearer {KEY}" or model == "wrong-key":
            await answer.error(401, f"Incorrect API key provided: {KEY}.", code="invalid_api_key")
            return
        work = asyncio.ensure_future(self._serve(scope["path"], request, answer))
        gone = asyncio.ensure_future(receive())
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            self.seen.hung_up[model] += 1
            self.seen.hung_up_at_s[model] = asyncio.get_running_loop().time()
            work.cancel()
        gone.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)

    async def _serve(self, path: str, request: dict[str, Any], answer: "Answer") -> None:
        if path == "/v1/embeddings":
            await embeddings(request, answer)
            return
        assert path == "/v1/chat/completions", path
        model = request["model"]
        failures: dict[str, Callable[[], Awaitable[None]]] = {
            "rate-limited": lambda: answer.error(429, "Slow down.", headers=[(b"retry-after", b"17")]),
            "no-money": lambda: answer.error(429, "You exceeded your quota.", code="insufficient_quota"),
            "broken": lambda: answer.error(500, "The server had an error."),
            "overloaded": lambda: answer.error(503, "The engine is overloaded."),
            "strict": lambda: answer.error(400, "Unsupported value: 'temperature'.", param="temperature"),
            "redirect": lambda: answer.whole(302, b"", [(b"location", b"/v1/elsewhere")]),
            "not-json": lambda: answer.whole(200, b"<html>hello</html>"),
            "silent": lambda: asyncio.sleep(30),
        }
        if model in failures:
            await failures[model]()
            return
        if model == "recovers" and self.seen.by_model[model] <= self.recovers_after:
            await answer.error(503, "The engine is overloaded.", headers=[(b"retry-after", b"0")])
            return
        if request.get("stream"):
            await stream(request, answer)
        else:
            await answer.json(completion(request))


class Answer:
    """Writes one response."""

    def __init__(self, send) -> None:
        self._send = send

    async def whole(self, status: int, content: bytes, headers=()) -> None:
        length = (b"content-length", str(len(content)).encode())
        await self._send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
        await self._send({"type": "http.response.body", "body": content})

    async def json(self, body: Any, status: int = 200, headers=()) -> None:
        await self.whole(status, json.dumps(body).encode(), [(b"content-type", b"application/json"), *headers])

    async def error(self, status: int, message: str, *, code=None, param=None, headers=()) -> None:
        error = {"message": message, "type": "some_error", "param": param, "code": code}
        await self.json({"error": error}, status, headers)

    async def begin(self) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def event(self, data: Any) -> None:
        await self.piece(b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n")

    async def piece(self, content: bytes, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": content, "more_body": more})


TOOL_CALLS = [
    {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}},
    {"id": "call_b", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}},
]


def completion(request: dict[str, Any]) -> dict[str, Any]:
    """A whole answer, from the documented example's shape."""
    message: dict[str, Any] = {"role": "assistant", "content": "".join(WORDS), "refusal": None, "annotations": []}
    reason = "stop"
    if request.get("tools"):
        message, reason = {"role": "assistant", "content": None, "tool_calls": TOOL_CALLS}, "tool_calls"
    answer = {
        "id": "chatcmpl-upstream",
        "object": "chat.completion",
        "created": 1741569952,
        "model": request["model"] + "-2026-01-01",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
        "usage": USAGE,
    }
    if request["model"] == "uncounted":
        del answer["usage"]
    return answer


async def stream(request: dict[str, Any], answer: Answer) -> None:
    """A streamed answer; `slow` takes its time, others break in their own way."""
    model = request["model"]
    head = {"id": "chatcmpl-upstream", "object": "chat.completion.chunk", "created": 1741569952, "model": model}
    wants_usage = (request.get("stream_options") or {}).get("include_usage")

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**head, "choices": [choice], **({"usage": None} if wants_usage else {})}

    await answer.begin()
    reason = "stop"
    if request.get("tools"):
        reason = "tool_calls"
        for delta in tool_deltas(unnumbered=model == "unnumbered"):
            await answer.event(chunk(delta))
    else:
        if model != "roleless":
            await answer.event(chunk({"role": "assistant", "content": "", "refusal": None}))
        for index, word in enumerate(WORDS):
            if model == "slow":
                await asyncio.sleep(0.1)
            await answer.event(chunk({"content": word}))
            if index == 2 and model == "midway":
                await answer.event({"error": {"message": f"The model crashed ({KEY}).", "type": "server_error"}})
                await answer.piece(b"", more=False)
                return
            if index == 2 and model == "cut":
                await answer.piece(b"", more=False)
                return
            if index == 2 and model == "stalls":
                await asyncio.sleep(30)
    await answer.event(chunk({}, reason))
    if wants_usage and model != "uncounted":
        await answer.event({**head, "choices": [], "usage": USAGE})
    await answer.event(b"[DONE]")
    await answer.piece(b"", more=False)


def tool_deltas(*, unnumbered: bool) -> list[dict[str, Any]]:
    """Two parallel calls, arguments in pieces; `unnumbered` as some servers do: whole calls, all with index 0."""
    if unnumbered:
        return [{"tool_calls": [{"index": 0, **call}]} for call in TOOL_CALLS]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None}]
    for index, call in enumerate(TOOL_CALLS):
        head = {"index": index, "id": call["id"], "type": "function"}
        deltas.append({"tool_calls": [{**head, "function": {"name": call["function"]["name"], "arguments": ""}}]})
        arguments = call["function"]["arguments"]
        deltas.extend(
            {"tool_calls": [{"index": index, "function": {"arguments": arguments[at : at + 5]}}]}
            for at in range(0, len(arguments), 5)
        )
    return deltas


async def embeddings(request: dict[str, Any], answer: Answer) -> None:
    """A vector of three numbers for each text, sent in reverse order: `index` says which is which."""
    data = []
    for index, text in enumerate(request["input"]):
        vector: Any = [float(len(text)), 0.5, -1.0]
        if request.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack("<3f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    usage = {"prompt_tokens": 5 * len(data), "total_tokens": 5 * len(data)}
    await answer.json({"object": "list", "data": data[::-1], "model": request["model"], "usage": usage})
