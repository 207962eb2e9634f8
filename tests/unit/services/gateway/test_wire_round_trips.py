"""What a translator writes it reads back the same: requests, answers and streams, on every wire that does both."""

import json

from hypothesis import given
from hypothesis import strategies as st

from slipway.services.gateway import (
    wire_anthropic_answer,
    wire_anthropic_request,
    wire_openai_answer,
    wire_openai_request,
)
from slipway.services.gateway.conversation import Collected
from slipway.services.gateway.sse import Events
from tests.unit.services.gateway.conversations import (
    UNHURRIED,
    answers,
    anthropic_conversations,
    deltas,
    openai_conversations,
)

CUTS = st.lists(st.integers(0, 40), max_size=4)


def over_the_wire(content, borders=()):
    """The events in bytes of a stream, arriving in pieces that end anywhere."""
    events, found, start = Events(), [], 0
    for border in [*sorted(border % (len(content) + 1) for border in borders), len(content)]:
        found += events.feed(content[start:border])
        start = border
    return [json.loads(data) for data in found if data != b"[DONE]"]


def collected(reader, events):
    gathered = Collected()
    for event in events:
        for delta in reader.take(event):
            gathered.add(delta)
    return gathered.answer()


@UNHURRIED
@given(anthropic_conversations())
def test_a_conversation_survives_anthropics_wire(conversation):
    body = json.loads(json.dumps(wire_anthropic_request.request_write(conversation, "m")))
    assert wire_anthropic_request.request_read(body) == conversation


@UNHURRIED
@given(openai_conversations())
def test_a_conversation_survives_openais_wire(conversation):
    body = json.loads(json.dumps(wire_openai_request.request_write(conversation, "m")))
    assert wire_openai_request.request_read(body) == conversation


@UNHURRIED
@given(answers())
def test_an_answer_survives_anthropics_wire(answer):
    body = wire_anthropic_answer.answer_write(answer, model="m", request_id="r")
    assert wire_anthropic_answer.answer_read(json.loads(json.dumps(body))) == answer


@UNHURRIED
@given(answers(hour=False))
def test_an_answer_survives_openais_wire(answer):
    body = wire_openai_answer.answer_write(answer, model="m", request_id="r", created=1)
    assert wire_openai_answer.answer_read(json.loads(json.dumps(body))) == answer


@UNHURRIED
@given(answers(), CUTS, st.lists(st.integers(0, 10_000), max_size=12))
def test_a_stream_on_anthropics_wire_says_what_the_plain_answer_says(answer, cuts, borders):
    writer = wire_anthropic_answer.StreamWriter(model="m", request_id="r")
    content = b"".join(writer.write(delta) for delta in deltas(answer, cuts)) + writer.end(answer.tokens, 7)
    plain = wire_anthropic_answer.answer_write(answer, model="m", request_id="r")
    got = collected(wire_anthropic_answer.StreamReader(), over_the_wire(content, borders))
    assert got == wire_anthropic_answer.answer_read(plain)


@UNHURRIED
@given(answers(hour=False), CUTS, st.lists(st.integers(0, 10_000), max_size=12))
def test_a_stream_on_openais_wire_says_what_the_plain_answer_says(answer, cuts, borders):
    writer = wire_openai_answer.StreamWriter(model="m", request_id="r", created=1, include_usage=True)
    content = b"".join(writer.write(delta) for delta in deltas(answer, cuts)) + writer.end(answer.tokens, 7)
    plain = wire_openai_answer.answer_write(answer, model="m", request_id="r", created=1)
    got = collected(wire_openai_answer.StreamReader(), over_the_wire(content, borders))
    assert got == wire_openai_answer.answer_read(plain)


@UNHURRIED
@given(answers(), CUTS)
def test_however_a_stream_is_cut_it_makes_the_same_answer(answer, cuts):
    gathered = Collected()
    for delta in deltas(answer, cuts):
        gathered.add(delta)
    assert gathered.answer() == answer


@UNHURRIED
@given(answers(), CUTS)
def test_anthropics_blocks_open_and_close_one_by_one(answer, cuts):
    writer = wire_anthropic_answer.StreamWriter(model="m", request_id="r")
    content = b"".join(writer.write(delta) for delta in deltas(answer, cuts)) + writer.end(answer.tokens, 7)
    expected, begun = None, 0
    for event in over_the_wire(content):
        if event["type"] == "content_block_start":
            assert expected is None and event["index"] == begun
            expected, begun = event["index"], begun + 1
        elif event["type"] == "content_block_delta":
            assert event["index"] == expected
        elif event["type"] == "content_block_stop":
            assert event["index"] == expected
            expected = None
    assert expected is None
