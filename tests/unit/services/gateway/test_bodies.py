"""What providers are sent: bounded by the bytes that leave, written once, and never of so much that others wait."""

import json
import threading
from typing import Any

import pytest

from slipway.base.clock import SystemClock
from slipway.base.errors import InvalidRequest
from slipway.services.gateway import bodies as bodies_module
from slipway.services.gateway import wire_openai_request
from slipway.services.gateway.bodies import Bodies
from slipway.services.gateway.conversation import Message, ToolResult
from slipway.services.gateway.directory import ServedModel
from slipway.services.gateway.health import Health
from slipway.services.gateway.models import CallerWire, ChatRequest, InvalidParameter, WireName, WrittenBody
from slipway.services.gateway.nesting import LONG_BODY_BYTES, MAX_BRACKETS, MAX_ITEMS
from slipway.services.gateway.wire import chat_request, json_object
from slipway.services.gateway.wire_anthropic_request import anthropic_request

pytestmark = pytest.mark.anyio
HELLO = [{"role": "user", "content": "Hello"}]


class Provider:
    def __init__(self, wire: WireName) -> None:
        self.wire = wire
        self.model_id = "m"


def served(wire: WireName, name: str = "m") -> ServedModel:
    return ServedModel(name, wire, Health(SystemClock(), name), chat=Provider(wire))  # type: ignore[arg-type]


def read(wire: CallerWire, content: bytes) -> ChatRequest:
    return (chat_request if wire == "openai" else anthropic_request)(json_object(content), len(content))


NUMBERS = b"[" + b",".join([b"1e15"] * 500) + b"]"
SCHEMA = b'{"type":"object","enum":' + NUMBERS + b"}"
OPENAI = (
    b'{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":'
    b'{"name":"f","parameters":' + SCHEMA + b"}}]}"
)
ANTHROPIC = (
    b'{"model":"m","max_tokens":5,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f",'
    b'"input":{"a":' + NUMBERS + b"}}]}]}"
)


@pytest.mark.parametrize(("caller", "content"), [("openai", OPENAI), ("anthropic", ANTHROPIC)])
async def test_the_longest_form_is_no_shorter_than_what_any_model_is_sent(caller: CallerWire, content: bytes) -> None:
    models = [served(wire, wire) for wire in ("openai", "anthropic", "converse")]
    forms = Bodies(read(caller, content), None)
    longest = await forms.longest_bytes(models)
    sent = [len((await forms.of(model)).content) for model in models]
    assert max(sent) > len(content), "the example has to grow"
    assert longest == max(sent)
    assert longest > await Bodies(read(caller, content.replace(b"1e15", b"1")), None).longest_bytes(models)


async def test_an_attempt_sends_the_bytes_that_were_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[Any] = []

    def written(value: Any) -> bytes:
        writes.append(value)
        return json.dumps(value).encode()

    monkeypatch.setattr(bodies_module, "json_bytes", written)
    model, forms = served("anthropic"), Bodies(read("openai", OPENAI), None)
    await forms.longest_bytes([model])
    assert await forms.of(model) is await forms.of(model)
    assert len(writes) == 1


async def test_what_only_a_fallback_cannot_be_sent_refuses_nothing_yet() -> None:
    forms = Bodies(read("openai", b'{"model":"m","messages":[{"role":"user","content":"x"}],"n":2}'), None)
    assert await forms.longest_bytes([served("openai", "a"), served("anthropic", "b")])
    with pytest.raises(InvalidParameter):
        await forms.longest_bytes([served("anthropic", "b"), served("openai", "a")])


async def test_long_bodies_are_written_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []
    write = Bodies._write

    def noted(self: Bodies, model: ServedModel) -> WrittenBody:
        threads.append(threading.current_thread())
        return write(self, model)

    monkeypatch.setattr(Bodies, "_write", noted)
    for size in (10, LONG_BODY_BYTES):
        content = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * size}]}).encode()
        await Bodies(read("openai", content), None).of(served("anthropic"))
    assert [thread is threading.main_thread() for thread in threads] == [True, False]


def test_results_of_one_round_are_gathered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = 0

    def counted(role: Any, parts: Any) -> Message:
        nonlocal moved
        moved += len(parts)
        return Message(role, parts)

    monkeypatch.setattr(wire_openai_request, "Message", counted)
    results = [{"role": "tool", "tool_call_id": str(index), "content": "x"} for index in range(1000)]
    conversation = wire_openai_request.request_read({"model": "m", "messages": [*HELLO, *results, *HELLO, *results]})
    assert [len(message.parts) for message in conversation.messages] == [1, 1000, 1, 1000]
    last = conversation.messages[3].parts[999]
    assert isinstance(last, ToolResult) and last.call_id == "999"
    assert moved <= 3 * 2002, "each result is moved a few times, not once for each that follows it"


TEXT = {"type": "text", "text": ""}


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("param", "more"),
    [
        ("messages", {"messages": HELLO * (MAX_ITEMS + 1)}),
        ("messages", {"messages": [{"role": "user", "content": [TEXT] * (MAX_ITEMS // 2 + 1)}] * 2}),
        ("messages", {"messages": [{"role": "user", "content": [{**TEXT, "content": [TEXT] * MAX_ITEMS}]}]}),
        ("messages", {"messages": [{"role": "assistant", "content": "", "tool_calls": [{}] * (MAX_ITEMS + 1)}]}),
        ("tools", {"tools": [{}] * (MAX_ITEMS + 1)}),
    ],
)
def test_a_request_of_too_many_pieces_is_refused_by_name(wire: CallerWire, param: str, more: dict[str, Any]) -> None:
    body = {"model": "m", "max_tokens": 1, "messages": HELLO, **more}
    with pytest.raises(InvalidParameter, match="10,000") as refused:
        read(wire, json.dumps(body, separators=(",", ":")).encode())
    assert refused.value.param == param


def test_what_the_parser_would_hold_the_interpreter_for_is_not_parsed() -> None:
    with pytest.raises(InvalidRequest, match="too many lists and objects"):
        json_object(b'{"x":[' + b",".join([b"[]"] * (MAX_BRACKETS + 1)) + b"]}")
    half = b'{"x":"\\ud800","y":"%b"}'
    assert json_object(half % b"a")["x"] == "\ud800"
    with pytest.raises(InvalidRequest, match="half of a surrogate pair"):
        json_object(half % (b"a" * LONG_BODY_BYTES))
