"""Streams from every provider's wire to every caller's: the matrix, errors, order of blocks, any borders of bytes."""

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.base.errors import ERRORS, SlipwayError, Unavailable, UpstreamFailed
from slipway.services.gateway import wire_anthropic_answer, wire_openai_answer
from slipway.services.gateway.conversation import Collected
from slipway.services.gateway.models import Tokens, WireName
from slipway.services.gateway.relay import answer_for, caller_error_event, error_body, error_status, stream_relay
from slipway.services.gateway.sse import Events
from tests.unit.services.gateway.conversations import UNHURRIED, answers, deltas

CALLERS = ("openai", "anthropic")
PROVIDERS = get_args(WireName)
READERS = {"openai": wire_openai_answer, "anthropic": wire_anthropic_answer}


def relay(caller, provider, **more):
    given = {"model": "here", "include_usage": True, "request_id": "r", "redacted": lambda text: text, **more}
    return stream_relay(caller, provider, **given)


def openai_events():
    def chunk(delta, reason=None):
        return {"id": "c_1", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    def call(index, text, **more):
        return chunk({"tool_calls": [{"index": index, **more, "function": {"arguments": text, **more}}]})

    return [
        chunk({"role": "assistant", "content": None}),
        chunk({"content": "I "}),
        chunk({"content": "look."}),
        call(0, "", id="a", name="f"),
        call(1, "", id="b", name="f"),
        call(0, '{"x":'),
        call(1, '{"x":'),
        call(0, "1}"),
        call(1, "2}"),
        chunk({}, "tool_calls"),
        {"id": "c_1", "choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 9}},
    ]


def anthropic_events():
    def block(index, start, *pieces):
        return [
            {"type": "content_block_start", "index": index, "content_block": start},
            *({"type": "content_block_delta", "index": index, "delta": piece} for piece in pieces),
            {"type": "content_block_stop", "index": index},
        ]

    def call(index, call_id, *pieces):
        start = {"type": "tool_use", "id": call_id, "name": "f", "input": {}}
        return block(index, start, *({"type": "input_json_delta", "partial_json": piece} for piece in pieces))

    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": []}
    usage = {"input_tokens": 20, "cache_read_input_tokens": 10, "output_tokens": 1}
    text = [{"type": "text_delta", "text": piece} for piece in ("I ", "look.")]
    return [
        {"type": "message_start", "message": {**message, "stop_reason": None, "usage": usage}},
        {"type": "ping"},
        *block(0, {"type": "text", "text": ""}, *text),
        *call(1, "a", "", '{"x":', "1}"),
        *call(2, "b", '{"x":2}'),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]


def converse_events():
    def call(index, call_id, *pieces):
        start = {"toolUse": {"toolUseId": call_id, "name": "f"}}
        return [
            {"contentBlockStart": {"start": start, "contentBlockIndex": index}},
            *({"contentBlockDelta": {"delta": {"toolUse": {"input": p}}, "contentBlockIndex": index}} for p in pieces),
            {"contentBlockStop": {"contentBlockIndex": index}},
        ]

    return [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"delta": {"text": "I "}, "contentBlockIndex": 0}},
        {"contentBlockDelta": {"delta": {"text": "look."}, "contentBlockIndex": 0}},
        *call(1, "a", '{"x":', "1}"),
        *call(2, "b", '{"x":2}'),
        {"messageStop": {"stopReason": "tool_use"}},
        {"metadata": {"usage": {"inputTokens": 20, "outputTokens": 9, "cacheReadInputTokens": 10}}},
    ]


EVENTS = {"openai": openai_events, "anthropic": anthropic_events, "converse": converse_events}


def parsed(content, borders=()):
    events, found, start = Events(), [], 0
    for border in [*sorted(border % (len(content) + 1) for border in borders), len(content)]:
        found += events.feed(content[start:border])
        start = border
    return [json.loads(data) for data in found if data != b"[DONE]"]


def understood(caller, content, borders=()):
    reader, gathered = READERS[caller].StreamReader(), Collected()
    for event in parsed(content, borders):
        for delta in reader.take(event):
            gathered.add(delta)
    return gathered.answer()


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_text_and_parallel_calls_reach_every_caller_from_every_provider(caller, provider):
    state = relay(caller, provider)
    content, length = b"", 0
    for event in EVENTS[provider]():
        content += state.take(event)
        assert state.text_length >= length
        length = state.text_length
    assert state.finished and state.text_length == 7 + 14
    assert state.tokens == Tokens(30, 9, 0 if provider == "openai" else 10)
    assert state.provider_id == {"openai": "c_1", "anthropic": "msg_1", "converse": None}[provider]
    content += state.end(state.tokens, 7)
    answer = understood(caller, content)
    assert [type(part).__name__ for part in answer.parts] == ["Text", "ToolCall", "ToolCall"]
    assert answer.parts[0].text == "I look."
    assert [(call.id, call.name, call.arguments) for call in answer.parts[1:]] == [
        ("a", "f", '{"x":1}'),
        ("b", "f", '{"x":2}'),
    ]
    assert (answer.stop, answer.tokens, answer.model) == ("tool_calls", state.tokens, "here")
    assert content.count(b'"cost_usd_micros":7') == 1
    assert content.endswith(b"data: [DONE]\n\n" if caller == "openai" else b'data: {"type":"message_stop"}\n\n')


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_it_is_not_finished_before_the_provider_says_so(caller, provider):
    state = relay(caller, provider)
    for event in EVENTS[provider]()[:5]:
        state.take(event)
    assert not state.finished
    [error] = parsed(caller_error_event(caller, UpstreamFailed("Broken."), "req_1"))
    assert error["error"]["message"] == "Broken." and error.get("type") == (None if caller == "openai" else "error")


ERROR_EVENTS = {
    "openai": {"error": {"message": "sk-1 overloaded"}},
    "anthropic": {"type": "error", "error": {"type": "overloaded_error", "message": "sk-1 overloaded"}},
    "converse": {"throttlingException": {"message": "sk-1 overloaded"}},
}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_error_event_is_a_failure_with_nothing_secret_in_it(caller, provider):
    state = relay(caller, provider, redacted=lambda text: text.replace("sk-1", "…"))
    with pytest.raises(UpstreamFailed) as failed:
        state.take(ERROR_EVENTS[provider])
    assert failed.value.public == "… overloaded"


def test_anthropics_own_events_pass_as_they_are_but_for_model_and_cost():
    state = relay("anthropic", "anthropic")
    events = anthropic_events()
    expected = json.loads(json.dumps(events))
    expected[0]["message"]["model"] = "here"
    expected[-2]["usage"]["cost_usd_micros"] = 7
    content = b"".join(state.take(event) for event in events) + state.end(Tokens(30, 9, 10), 7)
    assert parsed(content) == expected
    names = [line.removeprefix("event: ") for line in content.decode().split("\n") if line.startswith("event")]
    assert names == [event["type"] for event in expected]


def test_what_message_start_counted_is_known_before_the_end():
    state = relay("anthropic", "anthropic")
    state.take(anthropic_events()[0])
    assert state.tokens == Tokens(30, 1, 10) and not state.finished


def test_an_event_cannot_name_itself_into_the_stream():
    assert relay("anthropic", "anthropic").take({"type": "ping\n\ndata: x"}) == b""
    assert relay("anthropic", "anthropic").take({"type": 5}) == b""


def test_the_first_call_streams_and_the_second_waits_for_it():
    state = relay("anthropic", "openai")
    sent = [parsed(state.take(event)) for event in openai_events()]
    kinds = [[event["type"].removeprefix("content_block_") for event in events] for events in sent]
    assert kinds[:9] == [
        ["message_start"],
        ["start", "delta"],
        ["delta"],
        ["stop", "start"],
        [],
        ["delta"],
        [],
        ["delta", "stop", "start", "delta"],
        ["delta"],
    ]


@UNHURRIED
@given(answers(hour=False), st.lists(st.integers(0, 40), max_size=3), st.lists(st.integers(0, 9999), max_size=9))
def test_anthropics_stream_says_to_openais_callers_what_its_plain_answer_says(answer, cuts, borders):
    writer = wire_anthropic_answer.StreamWriter(model="m", request_id="p")
    content = b"".join(writer.write(delta) for delta in deltas(answer, cuts)) + writer.end(answer.tokens, 0)
    state = relay("openai", "anthropic")
    sent = b"".join(state.take(event) for event in parsed(content, borders)) + state.end(answer.tokens, 0)
    plain = wire_anthropic_answer.answer_write(answer, model="m", request_id="p")
    body, _, _ = answer_for("openai", "anthropic", plain, model="here", request_id="r")
    assert understood("openai", sent, borders) == wire_openai_answer.answer_read(body)


@UNHURRIED
@given(answers(hour=False), st.lists(st.integers(0, 40), max_size=3), st.lists(st.integers(0, 9999), max_size=9))
def test_openais_stream_says_to_anthropics_callers_what_its_plain_answer_says(answer, cuts, borders):
    writer = wire_openai_answer.StreamWriter(model="m", request_id="p", created=1, include_usage=True)
    content = b"".join(writer.write(delta) for delta in deltas(answer, cuts)) + writer.end(answer.tokens, 0)
    state = relay("anthropic", "openai")
    sent = b"".join(state.take(event) for event in parsed(content, borders)) + state.end(state.tokens, 0)
    plain = wire_openai_answer.answer_write(answer, model="m", request_id="p", created=1)
    body, _, _ = answer_for("anthropic", "openai", plain, model="here", request_id="r")
    assert understood("anthropic", sent, borders) == wire_anthropic_answer.answer_read(body)


@pytest.mark.parametrize("kind", ERRORS.values(), ids=ERRORS)
def test_every_error_has_anthropics_envelope_without_its_detail(kind: type[SlipwayError]):
    error = kind("Said aloud.", detail="secret")
    body = error_body("anthropic", error, "req_1")
    assert set(body) == {"type", "error", "request_id"} and body["error"]["message"] == "Said aloud."
    assert body["error"]["type"].endswith(("_error", "request_too_large")) and "secret" not in json.dumps(body)
    assert error_status("openai", error) == kind.status
    assert error_status("anthropic", error) == (529 if kind is Unavailable else kind.status)


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": None, "content": None}, {"output": 5}])
def test_what_is_no_answer_is_a_failure(caller, provider, body):
    with pytest.raises(UpstreamFailed):
        answer_for(caller, provider, dict(body), model="here", request_id="r")
