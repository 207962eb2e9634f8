"""OpenAI's chat completions and their streams: read into the neutral form, written from it.

Called by `relay`. It reads the first choice, since a translated request asks for one. Thinking is in
`reasoning_content`, as vLLM and DeepSeek send it; signed thinking also in `thinking_blocks`, so that a client that
sends the message back sends the signature too. Source: OpenAI's API reference, chat completions.
"""

from typing import Any, Final

from slipway.base.errors import UpstreamFailed
from slipway.services.gateway.chunks import ToolCallIndexes
from slipway.services.gateway.conversation import (
    Answer,
    AnswerPart,
    Counted,
    Delta,
    Finished,
    RedactedThinking,
    Started,
    StopReason,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ThinkingRedacted,
    ThinkingSigned,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
)
from slipway.services.gateway.indexes import index_of
from slipway.services.gateway.models import Tokens
from slipway.services.gateway.token_counts import openai_tokens, openai_usage
from slipway.services.gateway.wire import DONE
from slipway.services.gateway.wire_errors import json_bytes
from slipway.services.gateway.wire_openai_request import call_body, thoughts_body

_STOPS: Final[dict[str, StopReason]] = {
    "stop": "end",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "refusal",
}
_REASONS: Final[dict[StopReason, str]] = {
    "end": "stop",
    "length": "length",
    "stop_sequence": "stop",
    "tool_calls": "tool_calls",
    "refusal": "content_filter",
    "pause": "stop",
    "context_window": "length",
}


def answer_read(body: dict[str, Any]) -> Answer:
    """The answer in the neutral form; raises UpstreamFailed when it is none."""
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    if not isinstance(first, dict) or not isinstance(message, dict):
        raise UpstreamFailed("The model's provider answered with something that is no chat completion.")
    calls = message.get("tool_calls")
    parts = [*_said(message), *(_call(item) for item in (calls if isinstance(calls, list) else []))]
    return Answer(
        tuple(parts),
        _stop(first.get("finish_reason"), calls=bool(calls)),
        None,
        openai_tokens(body.get("usage")),
        _text(body.get("id")) or None,
        _text(body.get("model")) or None,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _stop(reason: Any, *, calls: bool) -> StopReason:
    """Some servers say `stop` after tool calls, and the other wires' clients go by the reason."""
    stop = _STOPS.get(_text(reason), "end")
    return "tool_calls" if calls and stop == "end" else stop


def _thought(message: dict[str, Any]) -> str:
    return _text(message.get("reasoning_content")) or _text(message.get("reasoning"))


def _said(message: dict[str, Any]) -> list[AnswerPart]:
    parts: list[AnswerPart] = _thoughts(message.get("thinking_blocks"))
    if not parts and (thought := _thought(message)):
        parts.append(Thinking(thought))
    text = _text(message.get("content")) or _text(message.get("refusal"))
    return [*parts, Text(text)] if text else parts


def _thoughts(blocks: Any) -> list[AnswerPart]:
    parts: list[AnswerPart] = []
    for block in blocks if isinstance(blocks, list) else []:
        if isinstance(block, dict) and block.get("type") == "thinking":
            parts.append(Thinking(_text(block.get("thinking")), _text(block.get("signature")) or None))
        elif isinstance(block, dict) and block.get("type") == "redacted_thinking":
            parts.append(RedactedThinking(_text(block.get("data"))))
    return parts


def _call(item: Any) -> ToolCall:
    function = item.get("function") if isinstance(item, dict) else None
    if not isinstance(function, dict):
        raise UpstreamFailed("The model's provider answered with a tool call that names no function.")
    return ToolCall(_text(item.get("id")), _text(function.get("name")), _text(function.get("arguments")))


def answer_write(answer: Answer, *, model: str, request_id: str, created: int) -> dict[str, Any]:
    """The `chat.completion`; `created` is in seconds since 1970."""
    text = "".join(part.text for part in answer.parts if isinstance(part, Text))
    calls = [part for part in answer.parts if isinstance(part, ToolCall)]
    thoughts = [part for part in answer.parts if isinstance(part, Thinking | RedactedThinking)]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not calls else None,
        "refusal": None,
        **thoughts_body(thoughts),
    }
    if calls:
        message["tool_calls"] = [call_body(call) for call in calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _REASONS[answer.stop]}
    return {
        "id": answer.id or request_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": openai_usage(answer.tokens or Tokens(0)),
    }


class StreamReader:
    """Takes the chunks of a stream and gives the deltas they mean."""

    def __init__(self) -> None:
        self._started = False
        self._indexes = ToolCallIndexes()
        self._calls: set[int] = set()

    def take(self, event: dict[str, Any]) -> list[Delta]:
        """The deltas of one chunk."""
        deltas: list[Delta] = []
        if not self._started and (event.get("choices") or event.get("id")):
            self._started = True
            deltas.append(Started(_text(event.get("id")) or None, _text(event.get("model")) or None))
        choices = event.get("choices")
        finished: Finished | None = None
        for choice in choices if isinstance(choices, list) else []:
            if isinstance(choice, dict) and not index_of(choice.get("index")):
                delta = choice.get("delta")
                if isinstance(delta, dict):
                    deltas += self._said(delta)
                if choice.get("finish_reason"):
                    finished = Finished(_stop(choice["finish_reason"], calls=bool(self._calls)))
        if finished is not None:
            deltas.append(finished)
        tokens = openai_tokens(event.get("usage"))
        if tokens is not None:
            deltas.append(Counted(tokens))
        return deltas

    def _said(self, delta: dict[str, Any]) -> list[Delta]:
        deltas: list[Delta] = []
        if thought := _thought(delta):
            deltas.append(ThinkingDelta(thought))
        for part in _thoughts(delta.get("thinking_blocks")):
            if isinstance(part, RedactedThinking):
                deltas.append(ThinkingRedacted(part.data))
            elif isinstance(part, Thinking) and part.signature is not None:
                deltas.append(ThinkingSigned(part.signature))
        if text := _text(delta.get("content")) or _text(delta.get("refusal")):
            deltas.append(TextDelta(text))
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else []:
            if isinstance(call, dict):
                deltas += self._call(call)
        return deltas

    def _call(self, call: dict[str, Any]) -> list[Delta]:
        index = self._indexes.index_of(call)
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        deltas: list[Delta] = []
        if index not in self._calls:
            self._calls.add(index)
            deltas.append(ToolCallStarted(index, _text(call.get("id")), _text(function.get("name"))))
        if text := _text(function.get("arguments")):
            deltas.append(ToolCallDelta(index, text))
        return deltas


class StreamWriter:
    """Writes deltas as `chat.completion.chunk` events."""

    def __init__(self, *, model: str, request_id: str, created: int, include_usage: bool) -> None:
        self._base = {
            "id": request_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        self._include_usage = include_usage
        self._role_sent = False
        self._thought: list[str] = []
        self._thoughts = 0

    def write(self, delta: Delta) -> bytes:
        """The event of one delta; nothing for a count, which has its own chunk at the end."""
        if isinstance(delta, Counted):
            return b""
        if isinstance(delta, Finished):
            return self._chunk({}, _REASONS[delta.reason])
        if isinstance(delta, Started):
            if delta.id:
                self._base["id"] = delta.id
            return self._chunk({"content": ""})
        return self._chunk(self._delta(delta))

    def end(self, tokens: Tokens, cost_usd_micros: int) -> bytes:
        """The usage chunk, where the caller asked for it, and `[DONE]`."""
        if not self._include_usage:
            return DONE
        usage = {**openai_usage(tokens), "cost_usd_micros": cost_usd_micros}
        return b"data: " + json_bytes({**self._base, "choices": [], "usage": usage}) + b"\n\n" + DONE

    def _delta(self, delta: Delta) -> dict[str, Any]:
        if isinstance(delta, TextDelta):
            return {"content": delta.text}
        if isinstance(delta, ThinkingDelta):
            self._thought.append(delta.text)
            return {"reasoning_content": delta.text}
        if isinstance(delta, ThinkingSigned):
            block = {"type": "thinking", "thinking": "".join(self._thought), "signature": delta.signature}
            self._thought.clear()
            return self._thinking_block(block)
        if isinstance(delta, ThinkingRedacted):
            return self._thinking_block({"type": "redacted_thinking", "data": delta.data})
        if isinstance(delta, ToolCallStarted):
            function = {"name": delta.name, "arguments": ""}
            return {"tool_calls": [{"index": delta.index, "id": delta.id, "type": "function", "function": function}]}
        assert isinstance(delta, ToolCallDelta), "the other kinds are written by `write`"
        return {"tool_calls": [{"index": delta.index, "function": {"arguments": delta.text}}]}

    def _thinking_block(self, block: dict[str, Any]) -> dict[str, Any]:
        self._thoughts += 1
        return {"thinking_blocks": [{"index": self._thoughts - 1, **block}]}

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        if not self._role_sent:
            self._role_sent = True
            delta = {"role": "assistant", **delta}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        chunk: dict[str, Any] = {**self._base, "choices": [choice]}
        if self._include_usage:
            chunk["usage"] = None
        return b"data: " + json_bytes(chunk) + b"\n\n"
