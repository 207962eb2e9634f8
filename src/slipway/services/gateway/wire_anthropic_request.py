"""Anthropic's Messages requests: checked on the way in, read into the neutral form, written from it.

Called by the hot route and by `relay`. `anthropic_request` checks what the gateway itself needs; `request_read` takes
all apart and refuses by name what has no place in the neutral form: tools that run at Anthropic, files kept there,
containers, citations. Source: Anthropic's API reference, Messages.
"""

from collections.abc import Mapping
from typing import Any, Final

from slipway.services.gateway.conversation import (
    CacheMark,
    Conversation,
    Document,
    Image,
    Message,
    OutputSchema,
    Part,
    Reasoning,
    RedactedThinking,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    untranslatable,
)
from slipway.services.gateway.models import ChatRequest, Headers, InvalidParameter
from slipway.services.gateway.wire import refuse_too_many
from slipway.services.gateway.wire_arguments import arguments_object, json_text
from slipway.services.gateway.wire_fields import Fields

DEFAULT_MAX_TOKENS: Final = 4096  # the wire wants a figure; every model of it can write as much
_WIRE: Final = "Anthropic's Messages"
_EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
_CHOICES: Final = ("auto", "none", "any", "tool")


def anthropic_request(
    body: dict[str, Any], size_bytes: int, headers: Headers = (), *, counting: bool = False
) -> ChatRequest:
    """A Messages request from its body and what its headers ask for; raises InvalidParameter naming what is wrong.

    `counting`: a request to count tokens, which has no `max_tokens` and no stream.
    """
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidParameter("model", 'model is missing: name one of GET /v1/models, or "default".')
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidParameter("messages", "messages must be a list with one message or more.")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant", "system"):
            raise InvalidParameter(
                f"messages.{index}.role", f"messages[{index}] must be an object whose role is user or assistant."
            )
        if not isinstance(message.get("content"), str | list):
            raise InvalidParameter(
                f"messages.{index}.content", f"messages[{index}].content must be a text or a list of blocks."
            )
    refuse_too_many(body, size_bytes)
    if counting:
        return ChatRequest("anthropic", model, body, size_bytes, headers=headers)
    limit = body.get("max_tokens")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise InvalidParameter("max_tokens", "max_tokens must be a whole number of 1 or more.")
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise InvalidParameter("stream", "stream must be true or false.")
    return ChatRequest("anthropic", model, body, size_bytes, bool(stream), headers=headers)


def request_read(body: Mapping[str, Any]) -> Conversation:
    """The request in the neutral form; raises InvalidParameter for what is wrong or has no place in it."""
    fields = Fields(body)
    fields.skip("model", "stream")
    fields.skip_only("service_tier", "auto", "standard_only")
    fields.skip_only("speed", "standard")
    choice, parallel = _choice_read(fields.fields("tool_choice"))
    effort, output = _output_read(fields.fields("output_config"))
    system = fields.any("system")
    conversation = Conversation(
        messages=tuple(_message_read(item) for item in fields.items("messages")),
        system=tuple(_texts(_parts_read(fields, "system", system))),
        tools=tuple(_tool_read(item) for item in fields.items("tools")),
        tool_choice=choice,
        parallel_tools=parallel,
        output=output,
        max_tokens=fields.whole("max_tokens", 1),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.whole("top_k"),
        stop=fields.texts("stop_sequences"),
        user_id=_user_read(fields.fields("metadata")),
        reasoning=_thinking_read(fields.fields("thinking")),
        effort=effort,
        cache=_cache_read(fields),
    )
    fields.done()
    return conversation


def _texts(parts: tuple[Part, ...]) -> list[Text]:
    texts = [part for part in parts if isinstance(part, Text)]
    if len(texts) != len(parts):
        raise InvalidParameter("system", "system must be a text or a list of text blocks.")
    return texts


def _user_read(fields: Fields | None) -> str | None:
    if fields is None:
        return None
    user = fields.text("user_id")
    fields.done()
    return user


def _cache_read(fields: Fields) -> CacheMark | None:
    mark = fields.fields("cache_control")
    if mark is None:
        return None
    if mark.text("type") != "ephemeral":
        mark.wrong("type", "must be ephemeral")
    ttl = mark.text("ttl")
    mark.done()
    if ttl is None:
        return CacheMark()
    return CacheMark("5m" if ttl == "5m" else "1h" if ttl == "1h" else mark.wrong("ttl", "must be 5m or 1h"))


def _thinking_read(fields: Fields | None) -> Reasoning | None:
    if fields is None:
        return None
    kind, budget = fields.text("type"), fields.whole("budget_tokens", 0)
    fields.done()
    if kind == "enabled":
        return Reasoning("budget", fields.wrong("budget_tokens", "is missing") if budget is None else budget)
    if kind == "adaptive":
        return Reasoning("adaptive")
    if kind == "disabled":
        return Reasoning("off")
    refused: Reasoning = fields.refused("type", "write enabled, adaptive or disabled")
    return refused


def _output_read(fields: Fields | None) -> tuple[Any, OutputSchema | None]:
    if fields is None:
        return None, None
    effort = fields.text("effort")
    if effort is not None and effort not in _EFFORTS:
        fields.wrong("effort", "must be low, medium, high, xhigh or max")
    form = fields.fields("format")
    fields.done()
    if form is None:
        return effort, None
    if form.text("type") != "json_schema":
        form.refused("type", "write json_schema")
    schema = form.object("schema")
    form.done()
    return effort, OutputSchema(form.wrong("schema", "is missing") if schema is None else schema)


def _choice_read(fields: Fields | None) -> tuple[ToolChoice | None, bool | None]:
    if fields is None:
        return None, None
    kind, name = fields.text("type"), fields.text("name")
    single = fields.flag("disable_parallel_tool_use")
    fields.done()
    if kind not in _CHOICES:
        fields.wrong("type", "must be auto, any, tool or none")
    if (kind == "tool") != (name is not None):
        fields.wrong("name", "must be there for type tool, and only then")
    choice: Any = kind
    return ToolChoice(choice, name), None if single is None else not single


def _tool_read(fields: Fields) -> Tool:
    if fields.text("type") not in (None, "custom"):
        fields.refused("type", "it runs at Anthropic only, offer a tool with an input_schema")
    schema = fields.object("input_schema")
    tool = Tool(
        fields.need_text("name"),
        fields.wrong("input_schema", "is missing") if schema is None else schema,
        fields.text("description"),
        fields.flag("strict"),
        _cache_read(fields),
    )
    fields.skip_only("defer_loading", False)
    fields.skip_only("eager_input_streaming", False)
    fields.skip_only("allowed_callers", ["direct"])
    fields.done()
    return tool


def _message_read(fields: Fields) -> Message:
    role: Any = fields.need_text("role")
    if role not in ("user", "assistant", "system"):
        fields.wrong("role", "must be user or assistant")
    parts = _parts_read(fields, "content", fields.any("content"))
    fields.done()
    return Message(role, parts)


def _parts_read(fields: Fields, key: str, content: Any) -> tuple[Part, ...]:
    if content is None or isinstance(content, str):
        return (Text(content),) if content else ()
    return tuple(_part_read(item) for item in fields.items(key))


def _part_read(fields: Fields) -> Part:
    kind = fields.text("type")
    part: Part
    if kind == "text":
        fields.skip_only("citations", [])
        part = Text(fields.need_text("text"), _cache_read(fields))
    elif kind == "image":
        part = _image_read(fields)
    elif kind == "document":
        part = _document_read(fields)
    elif kind == "tool_use":
        fields.skip_only("caller", {"type": "direct"})
        call_id, name, arguments = fields.need_text("id"), fields.need_text("name"), fields.object("input")
        part = ToolCall(call_id, name, json_text(arguments or {}), _cache_read(fields))
    elif kind == "tool_result":
        part = _result_read(fields)
    elif kind == "thinking":
        part = Thinking(fields.need_text("thinking"), fields.text("signature"))
    elif kind == "redacted_thinking":
        part = RedactedThinking(fields.need_text("data"))
    else:
        part = fields.refused("type", "blocks are text, image, document, tool_use, tool_result or thinking")
    fields.done()
    return part


def _image_read(fields: Fields) -> Image:
    source = fields.fields("source")
    cache = _cache_read(fields)
    if source is None:
        image: Image = fields.wrong("source", "is missing")
        return image
    kind = source.text("type")
    if kind == "base64":
        image = Image(source.need_text("media_type"), source.need_text("data"), cache=cache)
    elif kind == "url":
        image = Image(url=source.need_text("url"), cache=cache)
    else:
        image = source.refused("type", "send the image as base64 or by its url")
    source.done()
    return image


def _document_read(fields: Fields) -> Document:
    source = fields.fields("source")
    cache, title = _cache_read(fields), fields.text("title")
    fields.skip_only("citations", {"enabled": False})
    if source is None:
        document: Document = fields.wrong("source", "is missing")
        return document
    kind = source.text("type")
    if kind in ("base64", "text"):
        document = Document(source.need_text("media_type"), source.need_text("data"), title=title, cache=cache)
    elif kind == "url":
        document = Document(url=source.need_text("url"), title=title, cache=cache)
    else:
        document = source.refused("type", "send the document as base64, as text or by its url")
    source.done()
    return document


def _result_read(fields: Fields) -> ToolResult:
    parts: list[Text | Image | Document] = []
    for index, part in enumerate(_parts_read(fields, "content", fields.any("content"))):
        if not isinstance(part, Text | Image | Document):
            fields.wrong(f"content.{index}.type", "must be text, image or document")
        else:
            parts.append(part)
    call_id, is_error = fields.need_text("tool_use_id"), fields.flag("is_error")
    return ToolResult(call_id, tuple(parts), bool(is_error), _cache_read(fields))


def request_write(conversation: Conversation, model_id: str) -> dict[str, Any]:
    """The body that asks Anthropic's wire for the answer; raises InvalidParameter for what it has no place for."""
    if conversation.seed is not None:
        untranslatable("seed", _WIRE)
    body: dict[str, Any] = {
        "model": model_id,
        "max_tokens": DEFAULT_MAX_TOKENS if conversation.max_tokens is None else conversation.max_tokens,
        "messages": [_message_write(message, index) for index, message in enumerate(conversation.messages)],
    }
    if conversation.system:
        body["system"] = [_text_write(text) for text in conversation.system]
    if conversation.tools:
        body["tools"] = [_tool_write(tool) for tool in conversation.tools]
    choice = _choice_write(conversation)
    if choice is not None:
        body["tool_choice"] = choice
    for key in ("temperature", "top_p", "top_k"):
        value = getattr(conversation, key)
        if value is not None:
            body[key] = value
    if conversation.stop:
        body["stop_sequences"] = list(conversation.stop)
    if conversation.user_id is not None:
        body["metadata"] = {"user_id": conversation.user_id}
    _reasoning_write(conversation, body)
    _cache_write(conversation.cache, body)
    return body


def _reasoning_write(conversation: Conversation, body: dict[str, Any]) -> None:
    reasoning = conversation.reasoning
    if reasoning is not None:
        kind = {"adaptive": "adaptive", "budget": "enabled", "off": "disabled"}[reasoning.kind]
        body["thinking"] = {"type": kind}
        if reasoning.kind == "budget":
            body["thinking"]["budget_tokens"] = reasoning.budget_tokens
    config: dict[str, Any] = {}
    if conversation.effort is not None:
        if conversation.effort not in _EFFORTS:
            untranslatable("reasoning_effort", _WIRE, 'write "low", "medium", "high", "xhigh", "max" or "none"')
        config["effort"] = conversation.effort
    if conversation.output is not None:
        config["format"] = {"type": "json_schema", "schema": conversation.output.schema}
    if config:
        body["output_config"] = config


def _choice_write(conversation: Conversation) -> dict[str, Any] | None:
    choice, parallel = conversation.tool_choice, conversation.parallel_tools
    if choice is None and (parallel is None or not conversation.tools):
        return None
    written: dict[str, Any] = {"type": "auto" if choice is None else choice.kind}
    if choice is not None and choice.name is not None:
        written["name"] = choice.name
    if parallel is not None and written["type"] != "none":
        written["disable_parallel_tool_use"] = not parallel
    return written


def _cache_write(mark: CacheMark | None, block: dict[str, Any]) -> dict[str, Any]:
    if mark is not None:
        block["cache_control"] = {"type": "ephemeral"} if mark.ttl is None else {"type": "ephemeral", "ttl": mark.ttl}
    return block


def _text_write(text: Text) -> dict[str, Any]:
    return _cache_write(text.cache, {"type": "text", "text": text.text})


def _tool_write(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        written["description"] = tool.description
    written["input_schema"] = tool.schema
    if tool.strict is not None:
        written["strict"] = tool.strict
    return _cache_write(tool.cache, written)


def _message_write(message: Message, index: int) -> dict[str, Any]:
    path = f"messages.{index}"
    return {"role": message.role, "content": [_part_write(part, path) for part in message.parts]}


def _part_write(part: Part, path: str) -> dict[str, Any]:
    if isinstance(part, Text):
        return _text_write(part)
    if isinstance(part, Image):
        if part.detail is not None:
            untranslatable(f"{path}.content.image_url.detail", _WIRE, 'leave it out, or write "auto"')
        return _cache_write(part.cache, {"type": "image", "source": _source_write(part)})
    if isinstance(part, Document):
        block: dict[str, Any] = {"type": "document", "source": _source_write(part)}
        if part.title is not None:
            block["title"] = part.title
        return _cache_write(part.cache, block)
    if isinstance(part, ToolCall):
        arguments = arguments_object(part.arguments, f"{path}.tool_calls.function.arguments")
        return _cache_write(part.cache, {"type": "tool_use", "id": part.id, "name": part.name, "input": arguments})
    if isinstance(part, ToolResult):
        result: dict[str, Any] = {"type": "tool_result", "tool_use_id": part.call_id}
        if part.parts:
            result["content"] = [_part_write(item, path) for item in part.parts]
        if part.is_error:
            result["is_error"] = True
        return _cache_write(part.cache, result)
    if isinstance(part, RedactedThinking):
        return {"type": "redacted_thinking", "data": part.data}
    if part.signature is None:
        untranslatable(f"{path}.reasoning_content", _WIRE, "leave it out, only thinking it signed is taken back")
    return {"type": "thinking", "thinking": part.text, "signature": part.signature}


def _source_write(part: Image | Document) -> dict[str, Any]:
    if part.url is not None:
        return {"type": "url", "url": part.url}
    kind = "text" if part.media_type == "text/plain" else "base64"
    return {"type": kind, "media_type": part.media_type, "data": part.data}
