"""Anthropic's Messages API on loopback: plain and streamed answers, tools, thinking, images, errors, token counts.

It is as strict as the real one about the credential, the version header and the shape of a request, so that a wrong
translation is refused rather than answered. Source: Anthropic's API reference, "Messages", "Streaming messages",
"Errors", "Count tokens", and "Versions": both versions of the API are served, and a key may come either way, as
`x-api-key` or, as SDKs since that version send it, as a bearer token.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.services.provider_bill import Counted
from tests.services.simulated_provider import (
    KEY,
    SIGNATURE,
    THOUGHT,
    Answer,
    Asked,
    Failures,
    SimulatedProvider,
    breaks,
    fails,
    image_seen,
    pace,
)

VERSION = "2023-06-01"
NEWER_VERSION = "2026-10-21"
REMOVED = ("temperature", "top_k", "top_p")  # from the newer version
PARAMETERS = {
    *("model", "messages", "max_tokens", "system", "stream", "stop_sequences", "temperature", "top_p", "top_k"),
    *("tools", "tool_choice", "metadata", "thinking", "service_tier", "output_config", "output_format"),
    *("container", "context_management", "cache_control", "inference_geo", "mcp_servers"),
}
COUNT_PARAMETERS = {
    *("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "output_format"),
    *("context_management", "cache_control", "mcp_servers"),
}
BLOCKS = {
    "text": {"text"},
    "image": {"source"},
    "document": {"source"},
    "tool_use": {"id", "name", "input"},
    "tool_result": {"tool_use_id"},
    "thinking": {"thinking", "signature"},
    "redacted_thinking": {"data"},
}
ROLES = {"user": {"text", "image", "document", "tool_result"}, "assistant": set(BLOCKS) - {"image", "tool_result"}}
OPTIONAL = {"type", "cache_control", "citations", "title", "context", "is_error", "content", "caller"}


class Refused(Exception):
    """A request that the real provider answers with 400."""


class AnthropicSimulator(SimulatedProvider):
    """The ASGI application; `seen` is what it got."""

    request_id_header = b"request-id"

    def model(self, scope: Mapping[str, Any], request: dict[str, Any]) -> str:
        return request.get("model", "")

    async def refuses(self, scope, headers: dict[str, str], body: bytes, answer: Answer) -> bool:
        wire = AnthropicAnswer(answer)
        given = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        request, version = json.loads(body), headers.get("anthropic-version")
        if given != KEY or request.get("model") == "wrong-key":
            await wire.error(401, "authentication_error", f"invalid x-api-key ({given})")
        elif version not in (VERSION, NEWER_VERSION):
            await wire.error(400, "invalid_request_error", "anthropic-version: header is required")
        elif version == NEWER_VERSION and (removed := [name for name in REMOVED if name in request]):
            await wire.error(400, "invalid_request_error", f"{removed[0]}: Extra inputs are not permitted")
        else:
            return False
        return True

    async def serve(self, path: str, model: str, request: dict[str, Any], answer: Answer) -> None:
        wire = AnthropicAnswer(answer)
        counts = path == "/v1/messages/count_tokens"
        if not counts and path != "/v1/messages":
            await wire.error(404, "not_found_error", "Not Found")
            return
        failures: Failures = {
            "rate-limited": lambda: wire.error(429, "rate_limit_error", "Slow down.", [(b"retry-after", b"17")]),
            "broken": lambda: wire.error(500, "api_error", "Internal server error"),
            "overloaded": lambda: wire.error(529, "overloaded_error", "Overloaded"),
            "strict": lambda: wire.error(400, "invalid_request_error", "temperature: range: 0..1"),
            "redirect": lambda: answer.whole(302, b"", [(b"location", b"/v1/elsewhere")]),
            "not-json": lambda: answer.whole(200, b"<html>hello</html>"),
            "silent": lambda: asyncio.sleep(30),
        }
        if model in failures:
            await failures[model]()
            return
        if self.recovers(model):
            await wire.error(529, "overloaded_error", "Overloaded", [(b"retry-after", b"0")])
            return
        try:
            check(request, COUNT_PARAMETERS if counts else PARAMETERS, limited=not counts)
        except Refused as refusal:
            await wire.error(400, "invalid_request_error", str(refusal))
            return
        asked = read(request)
        if counts:
            await answer.json({"input_tokens": self.billing.count(asked.characters, None).prompt})
            return
        line = self.book(asked, answer)
        if asked.stream:
            line.complete = await stream(asked, wire, line.counted)
        else:
            await answer.json(message(asked, line.counted))
            line.complete = True


class AnthropicAnswer:
    """Errors and events as Anthropic writes them."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    async def error(self, status: int, kind: str, text: str, headers=()) -> None:
        error = {"type": kind, "message": text}
        body = {"type": "error", "error": error, "request_id": self.answer.request_id}
        await self.answer.json(body, status, headers)

    async def event(self, data: dict[str, Any]) -> None:
        await self.answer.piece(b"event: %b\ndata: %b\n\n" % (data["type"].encode(), json.dumps(data).encode()))


def check(request: dict[str, Any], parameters: set[str], *, limited: bool) -> None:
    """Raises Refused for what the real provider does not take."""
    if unknown := sorted(set(request) - parameters):
        raise Refused(f"{unknown[0]}: Extra inputs are not permitted")
    if limited and not isinstance(request.get("max_tokens"), int):
        raise Refused("max_tokens: Field required")
    if not isinstance(request.get("messages"), list) or not request["messages"]:
        raise Refused("messages: at least one message is required")
    open_calls: set[str] = set()
    for index, each in enumerate(request["messages"]):
        where = f"messages.{index}"
        if set(each) - {"role", "content"} or each.get("role") not in ROLES:
            raise Refused(f"{where}: Input should be a user or an assistant message")
        blocks = _blocks(each["content"])
        for position, block in enumerate(blocks):
            _check_block(f"{where}.content.{position}", block, ROLES[each["role"]])
        answered = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if set(answered) != open_calls or len(answered) != len(set(answered)):
            raise Refused(f"{where}: each `tool_use` block must have a `tool_result` block in the next message")
        open_calls = {block["id"] for block in blocks if block["type"] == "tool_use"}
    for index, tool in enumerate(request.get("tools") or ()):
        if tool.get("type", "custom") == "custom" and tool.get("input_schema", {}).get("type") != "object":
            raise Refused(f"tools.{index}.custom.input_schema.type: Field required")
        if unknown := set(tool) - {"type", "name", "description", "input_schema", "cache_control", "strict"}:
            raise Refused(f"tools.{index}.custom.{min(unknown)}: Extra inputs are not permitted")
    choice = request.get("tool_choice")
    if choice is not None and choice.get("type") not in ("auto", "any", "tool", "none"):
        raise Refused("tool_choice: Input should be an object with a known type")


def _check_block(where: str, block: dict[str, Any], allowed: set[str]) -> None:
    kind = block.get("type")
    if kind not in allowed:
        raise Refused(f"{where}: {kind!r} is not allowed here")
    if missing := BLOCKS[kind] - set(block):
        raise Refused(f"{where}.{kind}.{min(missing)}: Field required")
    if unknown := set(block) - BLOCKS[kind] - OPTIONAL:
        raise Refused(f"{where}.{kind}.{min(unknown)}: Extra inputs are not permitted")
    if kind == "text" and not block["text"]:
        raise Refused(f"{where}: text content blocks must be non-empty")
    if kind == "tool_use" and not isinstance(block["input"], dict):
        raise Refused(f"{where}.tool_use.input: Input should be a valid dictionary")


def _blocks(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content or []


def read(request: dict[str, Any]) -> Asked:
    """A request of this wire that has been checked."""
    last = _blocks(request["messages"][-1]["content"])
    blocks = [block for each in request["messages"] for block in _blocks(each["content"])]
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    system = [block["text"] for block in _blocks(request.get("system"))]
    return Asked(
        model=request["model"],
        stream=bool(request.get("stream")),
        question=texts[-1] if texts else "",
        characters=sum(map(len, [*system, *texts])),
        limit=request.get("max_tokens"),
        has_tools=bool(request.get("tools")),
        answers_tool=any(block["type"] == "tool_result" for block in last),
        images=tuple(_image(block["source"]) for block in blocks if block["type"] == "image"),
    )


def _image(source: dict[str, Any]) -> str:
    return f"url {source['url']}" if source["type"] == "url" else image_seen(source["media_type"], source["data"])


def usage_of(counted: Counted, output_tokens: int) -> dict[str, Any]:
    """The count as Anthropic reports it: `input_tokens` leaves out what a cache had to do with."""
    return {
        "input_tokens": counted.uncached,
        "cache_creation_input_tokens": counted.cache_write,
        "cache_read_input_tokens": counted.cache_read,
        "cache_creation": {"ephemeral_5m_input_tokens": counted.cache_write, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }


def blocks_of(asked: Asked) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each content block as it begins, and its deltas."""
    if asked.model == "thinking":
        deltas: list[dict[str, Any]] = [{"type": "thinking_delta", "thinking": piece} for piece in THOUGHT]
        deltas.append({"type": "signature_delta", "signature": SIGNATURE})
        yield {"type": "thinking", "thinking": "", "signature": ""}, deltas
    if not asked.calls:
        yield {"type": "text", "text": ""}, [{"type": "text_delta", "text": word} for word in asked.words]
    for call_id, name, arguments in asked.calls:
        pieces = ["", *(arguments[at : at + 5] for at in range(0, len(arguments), 5))]
        block = {"type": "tool_use", "id": call_id, "name": name, "caller": {"type": "direct"}, "input": {}}
        yield block, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]


def message(asked: Asked, counted: Counted) -> dict[str, Any]:
    """A whole answer."""
    content: list[dict[str, Any]] = []
    for block, deltas in blocks_of(asked):
        whole = dict(block)
        for key in ("text", "thinking", "signature"):
            if key in whole:
                whole[key] = "".join(delta.get(key, "") for delta in deltas)
        if "input" in whole:
            whole["input"] = json.loads("".join(delta["partial_json"] for delta in deltas))
        content.append(whole)
    return {**head(asked, content), **ending(asked), "usage": usage_of(counted, counted.completion)}


def head(asked: Asked, content: list[dict[str, Any]]) -> dict[str, Any]:
    """The message without its end."""
    return {"id": "msg_upstream", "type": "message", "role": "assistant", "model": asked.model, "content": content}


def ending(asked: Asked) -> dict[str, Any]:
    """Why it ended."""
    return {"stop_reason": asked.reason, "stop_sequence": "STOP" if asked.reason == "stop_sequence" else None}


async def stream(asked: Asked, wire: AnthropicAnswer, counted: Counted) -> bool:
    """A streamed answer, whether it is whole; `slow` takes its time, others break in their own way."""
    model = asked.model
    begun = {**head(asked, []), "stop_reason": None, "stop_sequence": None, "usage": usage_of(counted, 1)}
    await wire.answer.begin()
    if model == "together":
        wire.answer.hold()
    await wire.event({"type": "message_start", "message": begun})
    for index, (block, deltas) in enumerate(blocks_of(asked)):
        await wire.event({"type": "content_block_start", "index": index, "content_block": block})
        if index == 0:
            await wire.event({"type": "ping"})
        for number, delta in enumerate(deltas):
            await pace(model, number)
            await wire.event({"type": "content_block_delta", "index": index, "delta": delta})
            if breaks(model, number):
                if await fails(model):
                    error = {"type": "overloaded_error", "message": f"Overloaded ({KEY})"}
                    await wire.event({"type": "error", "error": error, "request_id": wire.answer.request_id})
                if model != "severed":  # its connection just ends, within the chunked body
                    await wire.answer.piece(b"", more=False)
                return False
        await wire.event({"type": "content_block_stop", "index": index})
    await wire.event({"type": "message_delta", "delta": ending(asked), "usage": {"output_tokens": counted.completion}})
    await wire.event({"type": "message_stop"})
    await wire.answer.piece(b"", more=False)
    return True
