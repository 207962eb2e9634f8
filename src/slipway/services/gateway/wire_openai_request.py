"""OpenAI's chat completion requests: read into the neutral form, and written from it.

Called by `relay`, for models behind another wire. What asks for nothing (`n: 1`, `store: false`) is read as nothing;
what no other wire can do (several choices, log probabilities, audio, penalties, JSON without a schema) is refused by
name.
Beyond OpenAI's reference it takes `cache_control` on parts and tools, and the `reasoning_content` and `thinking_blocks`
that our own answers carry, as other gateways' clients send them.
"""

import base64
import re
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
from slipway.services.gateway.models import InvalidParameter
from slipway.services.gateway.wire_arguments import arguments_object
from slipway.services.gateway.wire_fields import Fields

_WIRE: Final = "OpenAI's chat completions"
_DATA_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,", re.ASCII)
_EFFORTS: Final = ("minimal", "low", "medium", "high", "xhigh", "max")
_NO_ARGUMENTS: Final[dict[str, Any]] = {"type": "object", "properties": {}}
FAILED_TOOL: Final = "The tool failed:"  # the wire has no flag for it


def request_read(body: Mapping[str, Any]) -> Conversation:
    """The request in the neutral form; raises InvalidParameter for what is wrong or has no place in it."""
    fields = Fields(body)
    _skip_what_asks_for_nothing(fields)
    system, messages = _messages_read(fields.items("messages"))
    reasoning, effort = _effort_read(fields)
    conversation = Conversation(
        messages=messages,
        system=system,
        tools=tuple(_tool_read(item) for item in fields.items("tools")),
        tool_choice=_choice_read(fields),
        parallel_tools=fields.flag("parallel_tool_calls"),
        output=_output_read(fields.fields("response_format")),
        max_tokens=_max_tokens_read(fields),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        stop=_stop_read(fields),
        seed=fields.whole("seed"),
        user_id=_user_read(fields),
        reasoning=reasoning,
        effort=effort,
    )
    fields.done()
    return conversation


def _skip_what_asks_for_nothing(fields: Fields) -> None:
    fields.skip("model", "stream", "stream_options")
    for key, allowed in (
        ("n", (1,)),
        ("store", (False,)),
        ("logprobs", (False,)),
        ("top_logprobs", (0,)),
        ("logit_bias", ({},)),
        ("frequency_penalty", (0, 0.0)),
        ("presence_penalty", (0, 0.0)),
        ("modalities", (["text"],)),
        ("service_tier", ("auto", "default")),
        ("metadata", ({},)),
    ):
        fields.skip_only(key, *allowed)


def _max_tokens_read(fields: Fields) -> int | None:
    older, newer = fields.whole("max_tokens", 1), fields.whole("max_completion_tokens", 1)
    if older is not None and newer is not None and older != newer:
        fields.wrong("max_tokens", "says another figure than max_completion_tokens: send one of them")
    return older if newer is None else newer


def _user_read(fields: Fields) -> str | None:
    user, identifier = fields.text("user"), fields.text("safety_identifier")
    if user is not None and identifier is not None and user != identifier:
        fields.wrong("safety_identifier", "says another one than user: send one of them")
    return user if identifier is None else identifier


def _stop_read(fields: Fields) -> tuple[str, ...]:
    stop = fields.any("stop")
    return (stop,) if isinstance(stop, str) else fields.texts("stop")


def _effort_read(fields: Fields) -> tuple[Reasoning | None, Any]:
    effort = fields.text("reasoning_effort")
    if effort is None:
        return None, None
    if effort == "none":
        return Reasoning("off"), None
    if effort not in _EFFORTS:
        fields.wrong("reasoning_effort", "must be none, minimal, low, medium, high, xhigh or max")
    return Reasoning("adaptive"), effort


def _output_read(fields: Fields | None) -> OutputSchema | None:
    if fields is None:
        return None
    kind, form = fields.text("type"), fields.fields("json_schema")
    fields.done()
    if kind == "text" and form is None:
        return None
    if kind != "json_schema" or form is None:
        refused: OutputSchema = fields.refused("type", "write json_schema, with the schema of the answer")
        return refused
    schema, description = form.object("schema"), form.text("description")
    form.flag("strict")  # the other wires hold an answer to its schema always
    name = form.need_text("name")
    form.done()
    schema = _NO_ARGUMENTS if schema is None else schema
    if description is not None:
        own = schema.get("description")
        schema = {**schema, "description": f"{description}\n{own}" if isinstance(own, str) else description}
    return OutputSchema(schema, name)


def _choice_read(fields: Fields) -> ToolChoice | None:
    choice = fields.any("tool_choice")
    if choice is None:
        return None
    if isinstance(choice, str):
        kinds: dict[str, ToolChoice] = {
            "auto": ToolChoice("auto"),
            "none": ToolChoice("none"),
            "required": ToolChoice("any"),
        }
        return kinds.get(choice) or fields.wrong("tool_choice", "must be auto, none, required or a function")
    named = Fields(choice, "tool_choice")
    if named.text("type") != "function":
        named.refused("type", "write function")
    function = named.fields("function")
    named.done()
    if function is None:
        missing: ToolChoice = named.wrong("function", "is missing")
        return missing
    name = function.need_text("name")
    function.done()
    return ToolChoice("tool", name)


def _tool_read(fields: Fields) -> Tool:
    if fields.text("type") != "function":
        fields.refused("type", "offer a tool of type function")
    function, cache = fields.fields("function"), _cache_read(fields)
    fields.done()
    if function is None:
        missing: Tool = fields.wrong("function", "is missing")
        return missing
    schema = function.object("parameters")
    tool = Tool(
        function.need_text("name"),
        _NO_ARGUMENTS if schema is None else schema,
        function.text("description"),
        function.flag("strict"),
        cache or _cache_read(function),
    )
    function.done()
    return tool


def _cache_read(fields: Fields) -> CacheMark | None:
    mark = fields.fields("cache_control")
    if mark is None:
        return None
    kind, ttl = mark.text("type"), mark.text("ttl")
    mark.done()
    if kind != "ephemeral":
        mark.wrong("type", "must be ephemeral")
    if ttl is None:
        return CacheMark()
    return CacheMark("5m" if ttl == "5m" else "1h" if ttl == "1h" else mark.wrong("ttl", "must be 5m or 1h"))


def _messages_read(items: list[Fields]) -> tuple[tuple[Text, ...], tuple[Message, ...]]:
    """System messages at the head are the system prompt; the results of one round of calls are one message."""
    system: list[Text] = []
    messages: list[Message] = []
    results: list[Part] = []
    for item in items:
        role = item.need_text("role")
        message = _message_read(item, role)
        item.done()
        if role == "tool":
            results += message.parts
            continue
        if results:
            messages.append(Message("user", tuple(results)))
            results = []
        if message.role == "system" and not messages:
            system += [part for part in message.parts if isinstance(part, Text)]
        else:
            messages.append(message)
    if results:
        messages.append(Message("user", tuple(results)))
    return tuple(system), tuple(messages)


def _message_read(item: Fields, role: str) -> Message:
    if role in ("system", "developer"):
        return Message("system", _texts_read(item))
    if role == "user":
        return Message("user", _parts_read(item))
    if role == "tool":
        return Message("user", (ToolResult(item.need_text("tool_call_id"), _texts_read(item)),))
    if role == "assistant":
        thoughts = _thoughts_read(item)
        calls = tuple(_call_read(call) for call in item.items("tool_calls"))
        item.skip_only("annotations", [])
        return Message("assistant", thoughts + _texts_read(item) + calls)
    message: Message = item.refused("role", "roles are system, developer, user, assistant and tool")
    return message


def _thoughts_read(item: Fields) -> tuple[Part, ...]:
    text, blocks = item.text("reasoning_content"), item.items("thinking_blocks")
    if not blocks:
        return () if not text else (Thinking(text),)
    thoughts: list[Part] = []
    for block in blocks:
        block.skip("index")
        kind = block.text("type")
        if kind == "thinking":
            thoughts.append(Thinking(block.need_text("thinking"), block.text("signature")))
        elif kind == "redacted_thinking":
            thoughts.append(RedactedThinking(block.need_text("data")))
        else:
            block.refused("type", "write thinking or redacted_thinking")
        block.done()
    return tuple(thoughts)


def _call_read(call: Fields) -> ToolCall:
    call.skip("index")
    if call.text("type") not in (None, "function"):
        call.refused("type", "write function")
    call_id, function = call.need_text("id"), call.fields("function")
    call.done()
    if function is None:
        missing: ToolCall = call.wrong("function", "is missing")
        return missing
    name, arguments = function.need_text("name"), function.text("arguments") or ""
    function.done()
    arguments_object(arguments, function.param("arguments"))
    return ToolCall(call_id, name, arguments)


def _texts_read(item: Fields) -> tuple[Text, ...]:
    texts: list[Text] = []
    for index, part in enumerate(_parts_read(item)):
        if isinstance(part, Text):
            texts.append(part)
        else:
            item.refused(f"content.{index}.type", "a message of this role has text only")
    return tuple(texts)


def _parts_read(item: Fields) -> tuple[Text | Image | Document, ...]:
    content = item.any("content")
    if content is None or isinstance(content, str):
        return (Text(content),) if content else ()
    return tuple(_part_read(part) for part in item.items("content"))


def _part_read(part: Fields) -> Text | Image | Document:
    kind = part.text("type")
    cache = _cache_read(part)
    read: Text | Image | Document
    if kind in ("text", "refusal"):
        read = Text(part.need_text(kind), cache)
    elif kind == "image_url":
        image = part.fields("image_url")
        if image is None:
            read = part.wrong("image_url", "is missing")
        else:
            detail = image.text("detail")
            read = _image(image.need_text("url"), None if detail == "auto" else detail, cache)
            image.done()
    elif kind == "file":
        file = part.fields("file")
        read = part.wrong("file", "is missing") if file is None else _file(file, cache)
    else:
        read = part.refused("type", "parts are text, image_url or file")
    part.done()
    return read


def _image(url: str, detail: str | None, cache: CacheMark | None) -> Image:
    matched = _DATA_URL.match(url)
    if matched is None:
        return Image(url=url, detail=detail, cache=cache)
    return Image(matched[1], url[matched.end() :], detail=detail, cache=cache)


def _file(file: Fields, cache: CacheMark | None) -> Document:
    data = file.text("file_data") or ""
    title = file.text("filename")
    file.done()
    matched = _DATA_URL.match(data)
    if matched is None:
        wrong: Document = file.wrong("file_data", "must be a data URL in base64")
        return wrong
    content = data[matched.end() :]
    if matched[1] == "text/plain":
        try:
            content = base64.b64decode(content, validate=True).decode()
        except ValueError:
            file.wrong("file_data", "must be UTF-8 text in base64")
    return Document(matched[1], content, title=title, cache=cache)


def request_write(conversation: Conversation, model_id: str) -> dict[str, Any]:
    """The body that asks OpenAI's wire for the answer; raises InvalidParameter for what it has no place for.

    Marks of a cache are not written: servers of this wire choose by themselves what they keep, and no answer changes.
    """
    body: dict[str, Any] = {"model": model_id}
    messages = [{"role": "system", "content": _texts_write(conversation.system)}] if conversation.system else []
    for index, message in enumerate(conversation.messages):
        messages += _message_write(message, f"messages.{index}")
    body["messages"] = messages
    if conversation.tools:
        body["tools"] = [_tool_write(tool) for tool in conversation.tools]
    if conversation.tool_choice is not None:
        body["tool_choice"] = _choice_write(conversation.tool_choice)
    if conversation.output is not None:
        name = conversation.output.name or "answer"
        form = {"name": name, "schema": conversation.output.schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    if conversation.top_k is not None:
        untranslatable("top_k", _WIRE)
    _effort_write(conversation, body)
    plain = {
        "parallel_tool_calls": conversation.parallel_tools if conversation.tools else None,
        "max_completion_tokens": conversation.max_tokens,
        "temperature": conversation.temperature,
        "top_p": conversation.top_p,
        "stop": list(conversation.stop) or None,
        "seed": conversation.seed,
        "user": conversation.user_id,
    }
    return body | {key: value for key, value in plain.items() if value is not None}


def _effort_write(conversation: Conversation, body: dict[str, Any]) -> None:
    reasoning, effort = conversation.reasoning, conversation.effort
    if reasoning is not None and reasoning.kind == "budget":
        untranslatable("thinking.budget_tokens", _WIRE, "write thinking of type adaptive, and output_config.effort")
    if reasoning is not None and reasoning.kind == "off":
        if effort is not None:
            untranslatable("output_config.effort", _WIRE, "leave it out while thinking is disabled")
        body["reasoning_effort"] = "none"
    elif effort is not None:
        body["reasoning_effort"] = effort


def _choice_write(choice: ToolChoice) -> Any:
    if choice.kind == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return "required" if choice.kind == "any" else choice.kind


def _tool_write(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = tool.schema
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _texts_write(texts: tuple[Text, ...]) -> Any:
    if len(texts) == 1:
        return texts[0].text
    return [{"type": "text", "text": text.text} for text in texts]


def _message_write(message: Message, path: str) -> list[dict[str, Any]]:
    if message.role == "assistant":
        return [_assistant_write(message, path)]
    if message.role == "system":
        return [{"role": "system", "content": _texts_write(_only_texts(message.parts, path))}]
    written: list[dict[str, Any]] = []
    said: list[Part] = []
    for part in message.parts:
        if isinstance(part, ToolResult):
            if said:
                written.append({"role": "user", "content": _parts_write(said, path)})
                said = []
            written.append(_result_write(part, path))
        else:
            said.append(part)
    if said or not written:
        written.append({"role": "user", "content": _parts_write(said, path)})
    return written


def _result_write(result: ToolResult, path: str) -> dict[str, Any]:
    texts = _only_texts(result.parts, path)
    if result.is_error:
        texts = (Text(FAILED_TOOL), *texts)
    return {"role": "tool", "tool_call_id": result.call_id, "content": _texts_write(texts) or ""}


def _only_texts(parts: tuple[Part, ...], path: str) -> tuple[Text, ...]:
    texts = tuple(part for part in parts if isinstance(part, Text))
    if len(texts) != len(parts):
        untranslatable(f"{path}.content", _WIRE, "a tool result or a system message is text alone there")
    return texts


def _assistant_write(message: Message, path: str) -> dict[str, Any]:
    texts = tuple(part for part in message.parts if isinstance(part, Text))
    calls = [part for part in message.parts if isinstance(part, ToolCall)]
    thoughts = [part for part in message.parts if isinstance(part, Thinking | RedactedThinking)]
    if len(texts) + len(calls) + len(thoughts) != len(message.parts):
        untranslatable(f"{path}.content", _WIRE, "an assistant message is text and tool calls there")
    written: dict[str, Any] = {"role": "assistant", "content": _texts_write(texts) if texts else None}
    if not texts and not calls:
        written["content"] = ""
    written.update(thoughts_body(thoughts))
    if calls:
        written["tool_calls"] = [call_body(call) for call in calls]
    return written


def call_body(call: ToolCall) -> dict[str, Any]:
    """A tool call as messages and answers have it."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}


def thoughts_body(thoughts: list[Thinking | RedactedThinking]) -> dict[str, Any]:
    """What was thought: as text for whoever shows it, and as blocks with signatures where there are any."""
    text = "".join(thought.text for thought in thoughts if isinstance(thought, Thinking))
    written: dict[str, Any] = {"reasoning_content": text} if text else {}
    signed = [item for item in thoughts if isinstance(item, RedactedThinking) or item.signature is not None]
    if signed or len(thoughts) > 1:
        written["thinking_blocks"] = [_thought_write(thought) for thought in thoughts]
    return written


def _thought_write(thought: Thinking | RedactedThinking) -> dict[str, Any]:
    if isinstance(thought, RedactedThinking):
        return {"type": "redacted_thinking", "data": thought.data}
    return {"type": "thinking", "thinking": thought.text, "signature": thought.signature}


def _parts_write(parts: list[Part], path: str) -> Any:
    if not parts:
        return ""
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    return [_part_write(part, path) for part in parts]


def _part_write(part: Part, path: str) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, Image):
        image = {"url": part.url if part.url is not None else f"data:{part.media_type};base64,{part.data}"}
        if part.detail is not None:
            image["detail"] = part.detail
        return {"type": "image_url", "image_url": image}
    if isinstance(part, Document) and part.url is None and part.media_type == "application/pdf":
        file = {"filename": part.title or "document.pdf", "file_data": f"data:application/pdf;base64,{part.data}"}
        return {"type": "file", "file": file}
    raise InvalidParameter(
        f"{path}.content",
        f"{path}.content has a block that cannot be translated for this model, which speaks {_WIRE}: "
        "a user message is text, images and PDF documents in base64 there.",
    )
