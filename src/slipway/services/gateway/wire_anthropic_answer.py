"""Anthropic's Messages answers and streams: read into the neutral form, written from it.

Called by `relay`. An answer is never refused for what it holds besides: blocks of tools that ran at Anthropic are left
out of a translated answer, since only a request in Anthropic's own wire can ask for them. Source: Anthropic's API
reference, Messages and streaming.
"""

from collections.abc import Iterator
from typing import Any, Final

from slipway.base.errors import UpstreamFailed
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
from slipway.services.gateway.token_counts import anthropic_tokens, anthropic_usage
from slipway.services.gateway.wire_arguments import answered_arguments, is_whole, json_text
from slipway.services.gateway.wire_errors import named_event

_STOPS: Final[dict[str, StopReason]] = {
    "end_turn": "end",
    "max_tokens": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_calls",
    "refusal": "refusal",
    "pause_turn": "pause",
    "model_context_window_exceeded": "context_window",
}
_REASONS: Final = {stop: reason for reason, stop in _STOPS.items()}


def answer_read(body: dict[str, Any]) -> Answer:
    """The answer in the neutral form; raises UpstreamFailed when it is none."""
    content = body.get("content")
    if not isinstance(content, list):
        raise UpstreamFailed("The model's provider answered with something that is no message.")
    parts = [part for block in content if isinstance(block, dict) for part in _part_read(block)]
    sequence = body.get("stop_sequence")
    return Answer(
        tuple(parts),
        _STOPS.get(_text(body.get("stop_reason")), "end"),
        sequence if isinstance(sequence, str) else None,
        anthropic_tokens(body.get("usage")),
        _text(body.get("id")) or None,
        _text(body.get("model")) or None,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _part_read(block: dict[str, Any]) -> list[AnswerPart]:
    kind = block.get("type")
    if kind == "text":
        return [Text(_text(block.get("text")))]
    if kind == "thinking":
        return [Thinking(_text(block.get("thinking")), _text(block.get("signature")) or None)]
    if kind == "redacted_thinking":
        return [RedactedThinking(_text(block.get("data")))]
    if kind == "tool_use":
        return [ToolCall(_text(block.get("id")), _text(block.get("name")), json_text(block.get("input") or {}))]
    return []


def answer_write(answer: Answer, *, model: str, request_id: str) -> dict[str, Any]:
    """The message as Anthropic's wire has it; raises UpstreamFailed for tool arguments that are no object."""
    return {
        "id": answer.id or request_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [_part_write(part) for part in answer.parts],
        "stop_reason": _REASONS[answer.stop],
        "stop_sequence": answer.stop_sequence,
        "usage": anthropic_usage(answer.tokens or Tokens(0)),
    }


def _part_write(part: AnswerPart) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, Thinking):
        return {"type": "thinking", "thinking": part.text, "signature": part.signature or ""}
    if isinstance(part, RedactedThinking):
        return {"type": "redacted_thinking", "data": part.data}
    return {"type": "tool_use", "id": part.id, "name": part.name, "input": answered_arguments(part.arguments)}


class StreamReader:
    """Takes the events of a stream and gives the deltas they mean."""

    def __init__(self) -> None:
        self._calls: dict[int | None, int] = {}
        self._usage: dict[str, Any] = {}

    def take(self, event: dict[str, Any]) -> list[Delta]:
        """The deltas of one event; none for an event that says nothing here."""
        kind = event.get("type")
        if kind == "content_block_delta":
            delta = event.get("delta")
            return self._delta(index_of(event.get("index")), delta) if isinstance(delta, dict) else []
        if kind == "content_block_start":
            block = event.get("content_block")
            return self._block(index_of(event.get("index")), block) if isinstance(block, dict) else []
        if kind == "message_start":
            message = event.get("message")
            message = message if isinstance(message, dict) else {}
            started = Started(_text(message.get("id")) or None, _text(message.get("model")) or None)
            return [started, *self._count(message.get("usage"))]
        if kind == "message_delta":
            delta = event.get("delta")
            counted = self._count(event.get("usage"))
            reason = _text(delta.get("stop_reason")) if isinstance(delta, dict) else ""
            if not reason or not isinstance(delta, dict):
                return [*counted]
            return [*counted, Finished(_STOPS.get(reason, "end"), _text(delta.get("stop_sequence")) or None)]
        return []

    def _count(self, usage: Any) -> list[Counted]:
        """Counts are cumulative, and a later event leaves out what did not change."""
        if not isinstance(usage, dict):
            return []
        self._usage.update({key: value for key, value in usage.items() if value is not None})
        tokens = anthropic_tokens(self._usage)
        return [] if tokens is None else [Counted(tokens)]

    def _block(self, index: int | None, block: dict[str, Any]) -> list[Delta]:
        kind = block.get("type")
        if kind == "tool_use":
            call = self._calls[index] = len(self._calls)
            begun: list[Delta] = [ToolCallStarted(call, _text(block.get("id")), _text(block.get("name")))]
            arguments = block.get("input")
            if isinstance(arguments, dict) and arguments:
                begun.append(ToolCallDelta(call, json_text(arguments)))
            return begun
        if kind == "text":
            return [TextDelta(text)] if (text := _text(block.get("text"))) else []
        if kind == "thinking":
            return [ThinkingDelta(text)] if (text := _text(block.get("thinking"))) else []
        return [ThinkingRedacted(_text(block.get("data")))] if kind == "redacted_thinking" else []

    def _delta(self, index: int | None, delta: dict[str, Any]) -> list[Delta]:
        kind = delta.get("type")
        if kind == "text_delta":
            return [TextDelta(text)] if (text := _text(delta.get("text"))) else []
        if kind == "input_json_delta":
            text = _text(delta.get("partial_json"))
            return [ToolCallDelta(self._calls[index], text)] if text and index in self._calls else []
        if kind == "thinking_delta":
            return [ThinkingDelta(text)] if (text := _text(delta.get("thinking"))) else []
        if kind == "signature_delta":
            return [ThinkingSigned(text)] if (text := _text(delta.get("signature"))) else []
        return []


class _Block:
    """One content block of the answer being written, with what it still has to say."""

    __slots__ = ("arguments", "call", "ended", "kind", "pending", "start")

    def __init__(self, kind: str, start: dict[str, Any], call: int | None = None) -> None:
        self.kind = kind
        self.start = start
        self.call = call
        self.arguments: list[str] = []
        self.ended = False
        self.pending: list[dict[str, Any]] = []

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come once another block has begun."""
        if self.kind != "tool":
            return True
        # The cheap look first: long arguments come in thousands of pieces.
        last = self.arguments[-1].rstrip() if self.arguments else ""
        return (not last or last.endswith("}")) and is_whole("".join(self.arguments))


class StreamWriter:
    """Writes deltas as the events of Anthropic's streams.

    The wire has one block open at a time. What belongs to a later block waits while a tool call before it is not yet
    a whole JSON object, since its arguments may go on.
    """

    def __init__(self, *, model: str, request_id: str) -> None:
        self._model = model
        self._request_id = request_id
        self._begun = False
        self._blocks: list[_Block] = []
        self._index = 0
        self._open = False
        self._tokens = Tokens(0)
        self._finished: Finished | None = None

    def write(self, delta: Delta) -> bytes:
        """The events of one delta; nothing for one that has to wait."""
        if isinstance(delta, Counted):
            self._tokens = delta.tokens
            return b""
        if isinstance(delta, Finished):
            self._finished = delta
            return b""
        head = b"" if self._begun else self._message_start(delta.id if isinstance(delta, Started) else None)
        if not isinstance(delta, Started):
            self._add(delta)
        return head + b"".join(self._flush(last=False))

    def end(self, tokens: Tokens, cost_usd_micros: int) -> bytes:
        """What closes the stream: open blocks, stop reason, usage with its cost."""
        head = b"" if self._begun else self._message_start(None)
        finished = self._finished or Finished("end")
        usage = {**anthropic_usage(tokens), "cost_usd_micros": cost_usd_micros}
        delta = {"stop_reason": _REASONS[finished.reason], "stop_sequence": finished.stop_sequence}
        closing = named_event({"type": "message_delta", "delta": delta, "usage": usage})
        return head + b"".join(self._flush(last=True)) + closing + named_event({"type": "message_stop"})

    def _message_start(self, message_id: str | None) -> bytes:
        self._begun = True
        answer = Answer((), "end", None, self._tokens, message_id)
        message = {**answer_write(answer, model=self._model, request_id=self._request_id), "stop_reason": None}
        return named_event({"type": "message_start", "message": message})

    def _add(self, delta: Delta) -> None:
        last = self._blocks[-1] if self._blocks else None
        if isinstance(delta, TextDelta):
            block = self._same(last, "text", {"type": "text", "text": ""})
            block.pending.append({"type": "text_delta", "text": delta.text})
        elif isinstance(delta, ThinkingDelta):
            block = self._same(last, "thinking", {"type": "thinking", "thinking": "", "signature": ""})
            block.pending.append({"type": "thinking_delta", "thinking": delta.text})
        elif isinstance(delta, ThinkingSigned):
            block = self._same(last, "thinking", {"type": "thinking", "thinking": "", "signature": ""})
            block.pending.append({"type": "signature_delta", "signature": delta.signature})
            block.ended = True
        elif isinstance(delta, ThinkingRedacted):
            self._blocks.append(_Block("redacted", {"type": "redacted_thinking", "data": delta.data}))
        elif isinstance(delta, ToolCallStarted):
            start = {"type": "tool_use", "id": delta.id, "name": delta.name, "input": {}}
            self._blocks.append(_Block("tool", start, delta.index))
        elif isinstance(delta, ToolCallDelta):
            for block in self._blocks:
                if block.call == delta.index:
                    block.arguments.append(delta.text)
                    block.pending.append({"type": "input_json_delta", "partial_json": delta.text})

    def _same(self, last: _Block | None, kind: str, start: dict[str, Any]) -> _Block:
        if last is None or last.kind != kind or last.ended:
            last = _Block(kind, start)
            self._blocks.append(last)
        return last

    def _flush(self, *, last: bool) -> Iterator[bytes]:
        while self._blocks:
            block = self._blocks[0]
            if not self._open:
                self._open = True
                yield named_event({"type": "content_block_start", "index": self._index, "content_block": block.start})
            for delta in block.pending:
                yield named_event({"type": "content_block_delta", "index": self._index, "delta": delta})
            block.pending.clear()
            if not last and (len(self._blocks) == 1 or not block.is_over):
                return
            yield named_event({"type": "content_block_stop", "index": self._index})
            self._blocks.pop(0)
            self._index += 1
            self._open = False
