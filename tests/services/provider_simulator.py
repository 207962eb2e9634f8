"""A model provider that speaks OpenAI's documented wire on loopback, and what it saw: what no real one can be had for.

The model's id chooses how it behaves. It runs in a thread of its own, so that synchronous SDKs can be the client.
Source: OpenAI's API reference, "Create chat completion", "Streaming" and "Create embeddings", their example answers.
"""

import asyncio
import base64
import json
import struct
from collections.abc import Mapping
from typing import Any

from tests.services.provider_bill import Counted
from tests.services.simulated_provider import (
    KEY,
    WORDS,
    Answer,
    Asked,
    Failures,
    Seen,
    SimulatedProvider,
    breaks,
    fails,
    image_seen,
    pace,
)

__all__ = ["KEY", "USAGE", "WORDS", "OpenAIAnswer", "Seen", "Simulator", "usage_of"]

USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 3},
}

REASONS = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}


def usage_of(counted: Counted) -> dict[str, Any]:
    """The count as OpenAI reports it."""
    details = {"cached_tokens": counted.cache_read}
    if counted.cache_write:
        details["cache_write_tokens"] = counted.cache_write
    return {
        "prompt_tokens": counted.prompt,
        "completion_tokens": counted.completion,
        "total_tokens": counted.prompt + counted.completion,
        "prompt_tokens_details": details,
    }


class Simulator(SimulatedProvider):
    """The ASGI application; `seen` is what it got."""

    def model(self, scope: Mapping[str, Any], request: dict[str, Any]) -> str:
        return request["model"]

    async def refuses(self, scope, headers: dict[str, str], body: bytes, answer: Answer) -> bool:
        if headers.get("authorization") == f"Bearer {KEY}" and json.loads(body)["model"] != "wrong-key":
            return False
        await OpenAIAnswer(answer).error(401, f"Incorrect API key provided: {KEY}.", code="invalid_api_key")
        return True

    async def serve(self, path: str, model: str, request: dict[str, Any], answer: Answer) -> None:
        if path == "/v1/embeddings":
            await embeddings(request, answer)
            return
        assert path == "/v1/chat/completions", path
        wire = OpenAIAnswer(answer)
        failures: Failures = {
            "rate-limited": lambda: wire.error(429, "Slow down.", headers=[(b"retry-after", b"17")]),
            "no-money": lambda: wire.error(429, "You exceeded your quota.", code="insufficient_quota"),
            "broken": lambda: wire.error(500, "The server had an error."),
            "overloaded": lambda: wire.error(503, "The engine is overloaded."),
            "strict": lambda: wire.error(400, "Unsupported value: 'temperature'.", param="temperature"),
            "redirect": lambda: answer.whole(302, b"", [(b"location", b"/v1/elsewhere")]),
            "not-json": lambda: answer.whole(200, b"<html>hello</html>"),
            "silent": lambda: asyncio.sleep(30),
        }
        if model in failures:
            await failures[model]()
            return
        if self.recovers(model):
            await wire.error(503, "The engine is overloaded.", headers=[(b"retry-after", b"0")])
            return
        try:
            asked = read(request)
        except (TypeError, KeyError, AttributeError, ValueError, IndexError):
            await wire.error(400, "Invalid value in 'messages'.", param="messages")
            return
        line = self.book(asked, answer)
        if asked.stream:
            line.complete = await stream(asked, request, wire, usage_of(line.counted))
        else:
            await answer.json(completion(asked, usage_of(line.counted)))
            line.complete = True


class OpenAIAnswer:
    """Errors and events as OpenAI writes them."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    async def error(self, status: int, message: str, *, code=None, param=None, headers=()) -> None:
        error = {"message": message, "type": "some_error", "param": param, "code": code}
        await self.answer.json({"error": error}, status, headers)

    async def event(self, data: Any) -> None:
        content = data if isinstance(data, bytes) else json.dumps(data).encode()
        await self.answer.piece(b"data: " + content + b"\n\n")


def read(request: dict[str, Any]) -> Asked:
    """A request of this wire."""
    texts: list[str] = []
    images: list[str] = []
    for message in request["messages"]:
        content = message.get("content")
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content or ():
            if part["type"] == "image_url":
                images.append(_image(part["image_url"]["url"]))
            else:
                texts.append(part.get("text", ""))
    return Asked(
        model=request["model"],
        stream=bool(request.get("stream")),
        question=texts[-1] if texts else "",
        characters=sum(map(len, texts)),
        limit=request.get("max_completion_tokens", request.get("max_tokens")),
        has_tools=bool(request.get("tools")),
        answers_tool=request["messages"][-1]["role"] == "tool",
        images=tuple(images),
    )


def _image(url: str) -> str:
    if not url.startswith("data:"):
        return f"url {url}"
    media_type, data = url.removeprefix("data:").split(";base64,")
    return image_seen(media_type, data)


def tool_calls(asked: Asked) -> list[dict[str, Any]]:
    """The calls, whole."""
    return [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for call_id, name, arguments in asked.calls
    ]


def completion(asked: Asked, usage: dict[str, Any]) -> dict[str, Any]:
    """A whole answer, from the documented example's shape."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(asked.words),
        "refusal": None,
        "annotations": [],
    }
    if calls := tool_calls(asked):
        message = {"role": "assistant", "content": None, "tool_calls": calls}
    answer = {
        "id": "chatcmpl-upstream",
        "object": "chat.completion",
        "created": 1741569952,
        "model": asked.model + "-2026-01-01",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": REASONS[asked.reason]}],
        "usage": usage,
    }
    if asked.model == "uncounted":
        del answer["usage"]
    return answer


async def stream(asked: Asked, request: dict[str, Any], wire: OpenAIAnswer, usage: dict[str, Any]) -> bool:
    """A streamed answer, whether it is whole; `slow` takes its time, others break in their own way."""
    model = asked.model
    head = {"id": "chatcmpl-upstream", "object": "chat.completion.chunk", "created": 1741569952, "model": model}
    wants_usage = (request.get("stream_options") or {}).get("include_usage")

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**head, "choices": [choice], **({"usage": None} if wants_usage else {})}

    await wire.answer.begin()
    if model == "together":
        wire.answer.hold()
    if calls := tool_calls(asked):
        for delta in tool_deltas(calls, unnumbered=model == "unnumbered"):
            await wire.event(chunk(delta))
    else:
        if model != "roleless":
            await wire.event(chunk({"role": "assistant", "content": "", "refusal": None}))
        for index, word in enumerate(asked.words):
            await pace(model, index)
            await wire.event(chunk({"content": word}))
            if breaks(model, index):
                if await fails(model):
                    await wire.event({"error": {"message": f"The model crashed ({KEY}).", "type": "server_error"}})
                if model != "severed":  # its connection just ends, within the chunked body
                    await wire.answer.piece(b"", more=False)
                return False
    await wire.event(chunk({}, REASONS[asked.reason]))
    if wants_usage and model != "uncounted":
        await wire.event({**head, "choices": [], "usage": usage})
    await wire.event(b"[DONE]")
    await wire.answer.piece(b"", more=False)
    return True


def tool_deltas(calls: list[dict[str, Any]], *, unnumbered: bool) -> list[dict[str, Any]]:
    """Parallel calls, arguments in pieces; `unnumbered` as some servers do: whole calls, all with index 0."""
    if unnumbered:
        return [{"tool_calls": [{"index": 0, **call}]} for call in calls]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None}]
    for index, call in enumerate(calls):
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
