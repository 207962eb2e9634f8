"""Bedrock's Converse and ConverseStream: requests written from the neutral form, answers and events read into it.

Called by `relay`. The id of the model is in the path of a request, not in its body; the adapter signs it and decodes
the frames of a stream. Images and documents go as bytes in base64, as AWS has them in JSON; Bedrock fetches none by
address.
What Converse has no field for goes to the models that document it and is refused for others. Source: the service model
of `bedrock-runtime` and Amazon Bedrock's API reference.
"""

import re
from typing import Any, Final

from slipway.base.errors import UpstreamFailed
from slipway.services.gateway.conversation import (
    Answer,
    AnswerPart,
    CacheMark,
    Conversation,
    Counted,
    Delta,
    Document,
    Finished,
    Image,
    Part,
    Reasoning,
    RedactedThinking,
    Started,
    StopReason,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ThinkingRedacted,
    ThinkingSigned,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    ToolChoice,
    ToolResult,
    untranslatable,
)
from slipway.services.gateway.indexes import index_of
from slipway.services.gateway.token_counts import converse_tokens
from slipway.services.gateway.wire_arguments import arguments_object, json_text

_WIRE: Final = "Bedrock's Converse"
_ANTHROPIC: Final = "anthropic."  # in the ids of Anthropic's models and of their inference profiles
_IMAGES: Final = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS: Final = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9 \-()\[\]]+")  # what AWS does not take in a document's name
_STOPS: Final[dict[str, StopReason]] = {
    "end_turn": "end",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "stop_sequence": "stop_sequence",
    "guardrail_intervened": "refusal",
    "content_filtered": "refusal",
    "model_context_window_exceeded": "context_window",
}
_BROKEN: Final = ("malformed_model_output", "malformed_tool_use")


def request_write(conversation: Conversation, model_id: str) -> dict[str, Any]:
    """The body that asks Converse for the answer; raises InvalidParameter for what it has no place for."""
    body: dict[str, Any] = {"messages": _messages_write(conversation)}
    if conversation.system:
        body["system"] = [block for text in conversation.system for block in _text_write(text)]
    inference = {
        "maxTokens": conversation.max_tokens,
        "temperature": conversation.temperature,
        "topP": conversation.top_p,
        "stopSequences": list(conversation.stop) or None,
    }
    inference = {key: value for key, value in inference.items() if value is not None}
    if inference:
        body["inferenceConfig"] = inference
    if conversation.tools:
        body["toolConfig"] = _tools_write(conversation)
    elif conversation.tool_choice is not None and conversation.tool_choice.kind in ("any", "tool"):
        untranslatable("tool_choice", _WIRE, "offer tools with it")
    output = _output_write(conversation)
    if output:
        body["outputConfig"] = output
    additional = _additional(conversation, model_id)
    if additional:
        body["additionalModelRequestFields"] = additional
    if conversation.stop and _ANTHROPIC in model_id:
        body["additionalModelResponseFieldPaths"] = ["/stop_sequence"]
    return body


def capped(body: dict[str, Any], max_tokens: int | None) -> dict[str, Any]:
    """The body with a bound for the answer, where it has none."""
    inference = body.get("inferenceConfig", {})
    if max_tokens is not None and inference.get("maxTokens") is None:
        body["inferenceConfig"] = {**inference, "maxTokens": max_tokens}
    return body


def _output_write(conversation: Conversation) -> dict[str, Any]:
    written: dict[str, Any] = {}
    if conversation.output is not None:
        schema: dict[str, Any] = {"schema": json_text(conversation.output.schema)}
        if conversation.output.name is not None:
            schema["name"] = conversation.output.name
        written["textFormat"] = {"type": "json_schema", "structure": {"jsonSchema": schema}}
    if conversation.effort is not None:
        written["effort"] = conversation.effort
    return written


def _additional(conversation: Conversation, model_id: str) -> dict[str, Any]:
    """Fields that Anthropic's models take under their own names."""
    if conversation.seed is not None:
        untranslatable("seed", _WIRE)
    if conversation.user_id is not None:
        untranslatable("user", _WIRE, "leave user, safety_identifier or metadata.user_id out")
    anthropic = _ANTHROPIC in model_id
    written: dict[str, Any] = {}
    if conversation.top_k is not None:
        if not anthropic:
            untranslatable("top_k", _WIRE)
        written["top_k"] = conversation.top_k
    at_its_choice = conversation.reasoning is not None and conversation.reasoning.kind == "adaptive"
    if conversation.reasoning is not None and (anthropic or not at_its_choice or conversation.effort is None):
        if not anthropic:
            untranslatable("thinking", _WIRE, "leave thinking or reasoning_effort out")
        written["thinking"] = _thinking_write(conversation.reasoning)
    if conversation.parallel_tools is False and conversation.tools:
        if not anthropic:
            untranslatable("parallel_tool_calls", _WIRE, "leave it out, or write true")
        written["tool_choice"] = _single_write(conversation.tool_choice)
    return written


def _thinking_write(reasoning: Reasoning) -> dict[str, Any]:
    if reasoning.kind == "budget":
        return {"type": "enabled", "budget_tokens": reasoning.budget_tokens}
    return {"type": "adaptive" if reasoning.kind == "adaptive" else "disabled"}


def _single_write(choice: ToolChoice | None) -> dict[str, Any]:
    written: dict[str, Any] = {"type": "auto" if choice is None else choice.kind, "disable_parallel_tool_use": True}
    if choice is not None and choice.name is not None:
        written["name"] = choice.name
    return written


def _tools_write(conversation: Conversation) -> dict[str, Any]:
    tools = [block for tool in conversation.tools for block in _tool_write(tool)]
    written: dict[str, Any] = {"tools": tools}
    choice = conversation.tool_choice
    if choice is not None:
        if choice.kind == "none":
            untranslatable("tool_choice", _WIRE, "leave the tools out instead of writing none")
        written["toolChoice"] = _choice_write(choice)
    return written


def _choice_write(choice: ToolChoice) -> dict[str, Any]:
    return {"tool": {"name": choice.name}} if choice.kind == "tool" else {choice.kind: {}}


def _tool_write(tool: Tool) -> list[dict[str, Any]]:
    spec: dict[str, Any] = {"name": tool.name, "inputSchema": {"json": tool.schema}}
    if tool.description:
        spec["description"] = tool.description
    if tool.strict is not None:
        spec["strict"] = tool.strict
    return [{"toolSpec": spec}, *_cache_write(tool.cache)]


def _cache_write(mark: CacheMark | None) -> list[dict[str, Any]]:
    if mark is None:
        return []
    return [{"cachePoint": {"type": "default"} if mark.ttl is None else {"type": "default", "ttl": mark.ttl}}]


def _text_write(text: Text) -> list[dict[str, Any]]:
    return [{"text": text.text}, *_cache_write(text.cache)]


def _messages_write(conversation: Conversation) -> list[dict[str, Any]]:
    """Roles take turns there, so neighbours of one role become one message."""
    written: list[dict[str, Any]] = []
    for index, message in enumerate(conversation.messages):
        path = f"messages.{index}"
        if message.role == "system":
            untranslatable(f"{path}.role", _WIRE, "put system messages before all others")
        blocks = [block for part in message.parts for block in _part_write(part, path)]
        if written and written[-1]["role"] == message.role:
            written[-1]["content"] += blocks
        else:
            written.append({"role": message.role, "content": blocks})
    if written:
        written[-1]["content"] += _cache_write(conversation.cache)
    return written


def _part_write(part: Part, path: str) -> list[dict[str, Any]]:
    if isinstance(part, Text):
        return _text_write(part)
    if isinstance(part, Image):
        return [_image_write(part, path), *_cache_write(part.cache)]
    if isinstance(part, Document):
        return [_document_write(part, path), *_cache_write(part.cache)]
    if isinstance(part, ToolCall):
        arguments = arguments_object(part.arguments, f"{path}.tool_calls.function.arguments")
        return [{"toolUse": {"toolUseId": part.id, "name": part.name, "input": arguments}}, *_cache_write(part.cache)]
    if isinstance(part, ToolResult):
        return _result_write(part, path)
    if isinstance(part, RedactedThinking):
        return [{"reasoningContent": {"redactedContent": part.data}}]
    thought = {"text": part.text}
    if part.signature is not None:
        thought["signature"] = part.signature
    return [{"reasoningContent": {"reasoningText": thought}}]


def _result_write(result: ToolResult, path: str) -> list[dict[str, Any]]:
    content = [block for part in result.parts for block in _part_write(part, path)]
    marks = [block for block in content if "cachePoint" in block]
    content = [block for block in content if "cachePoint" not in block]
    written = {"toolUseId": result.call_id, "content": content, "status": "error" if result.is_error else "success"}
    return [{"toolResult": written}, *(_cache_write(result.cache) or marks[-1:])]


def _image_write(image: Image, path: str) -> dict[str, Any]:
    if image.detail is not None:
        untranslatable(f"{path}.content.image_url.detail", _WIRE, 'leave it out, or write "auto"')
    if image.url is not None:
        untranslatable(f"{path}.content.image.url", _WIRE, "send the image itself in base64, Bedrock fetches none")
    kind = _IMAGES.get(image.media_type or "")
    if kind is None:
        untranslatable(f"{path}.content.image.media_type", _WIRE, "send PNG, JPEG, GIF or WebP")
    return {"image": {"format": kind, "source": {"bytes": image.data}}}


def _document_write(document: Document, path: str) -> dict[str, Any]:
    if document.url is not None:
        untranslatable(
            f"{path}.content.document.url", _WIRE, "send the document itself in base64, Bedrock fetches none"
        )
    kind = _DOCUMENTS.get(document.media_type or "")
    if kind is None:
        untranslatable(f"{path}.content.document.media_type", _WIRE, "send PDF, Word, Excel, CSV, HTML or text")
    name = " ".join(_NOT_IN_NAMES.sub(" ", document.title or "").split())[:200] or "document"
    source = {"text": document.data} if kind == "txt" else {"bytes": document.data}
    return {"document": {"format": kind, "name": name, "source": source}}


def answer_read(body: dict[str, Any]) -> Answer:
    """The answer in the neutral form; raises UpstreamFailed when it is none."""
    output = body.get("output")
    message = output.get("message") if isinstance(output, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        raise UpstreamFailed("The model's provider answered with something that is no message.")
    parts = [part for block in content if isinstance(block, dict) for part in _part_read(block)]
    return Answer(
        tuple(parts),
        _stop(body.get("stopReason")),
        _sequence(body),
        converse_tokens(body.get("usage")),
    )


def _stop(reason: Any) -> StopReason:
    if reason in _BROKEN:
        raise UpstreamFailed("The model answered with something that its provider cannot read: try again.")
    return _STOPS.get(_text(reason), "end")


def _sequence(body: dict[str, Any]) -> str | None:
    extra = body.get("additionalModelResponseFields")
    return _text(extra.get("stop_sequence")) or None if isinstance(extra, dict) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _part_read(block: dict[str, Any]) -> list[AnswerPart]:
    if "text" in block:
        return [Text(_text(block["text"]))]
    if isinstance(call := block.get("toolUse"), dict):
        return [ToolCall(_text(call.get("toolUseId")), _text(call.get("name")), json_text(call.get("input") or {}))]
    if isinstance(thought := block.get("reasoningContent"), dict):
        if isinstance(said := thought.get("reasoningText"), dict):
            return [Thinking(_text(said.get("text")), _text(said.get("signature")) or None)]
        return [RedactedThinking(_text(thought.get("redactedContent")))]
    return []


class StreamReader:
    """Takes decoded events, each under its name, and gives the deltas they mean."""

    def __init__(self) -> None:
        self._calls: dict[int | None, int] = {}

    def take(self, event: dict[str, Any]) -> list[Delta]:
        """The deltas of one event; none for an event that says nothing here."""
        for name, value in event.items():
            if not isinstance(value, dict):
                continue
            if name == "contentBlockDelta" and isinstance(delta := value.get("delta"), dict):
                return self._delta(index_of(value.get("contentBlockIndex")), delta)
            if name == "contentBlockStart" and isinstance(start := value.get("start"), dict):
                return self._start(index_of(value.get("contentBlockIndex")), start)
            if name == "messageStart":
                return [Started()]
            if name == "messageStop":
                return [Finished(_stop(value.get("stopReason")), _sequence(value))]
            if name == "metadata":
                tokens = converse_tokens(value.get("usage"))
                return [] if tokens is None else [Counted(tokens)]
        return []

    def _start(self, index: int | None, start: dict[str, Any]) -> list[Delta]:
        call = start.get("toolUse")
        if not isinstance(call, dict):
            return []
        self._calls[index] = len(self._calls)
        return [ToolCallStarted(self._calls[index], _text(call.get("toolUseId")), _text(call.get("name")))]

    def _delta(self, index: int | None, delta: dict[str, Any]) -> list[Delta]:
        if text := _text(delta.get("text")):
            return [TextDelta(text)]
        if isinstance(call := delta.get("toolUse"), dict):
            text = _text(call.get("input"))
            return [ToolCallDelta(self._calls[index], text)] if text and index in self._calls else []
        if isinstance(thought := delta.get("reasoningContent"), dict):
            if text := _text(thought.get("text")):
                return [ThinkingDelta(text)]
            if text := _text(thought.get("signature")):
                return [ThinkingSigned(text)]
            if text := _text(thought.get("redactedContent")):
                return [ThinkingRedacted(text)]
        return []
