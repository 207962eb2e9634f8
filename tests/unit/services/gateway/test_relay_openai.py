"""OpenAI's stream to OpenAI's callers: what passes, what is kept."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.base.errors import UpstreamFailed
from slipway.services.gateway.models import Tokens
from slipway.services.gateway.relay import stream_relay
from tests.unit.services.gateway.conversations import JSON, UNHURRIED


def relay(**more):
    given = {"model": "here", "include_usage": True, "request_id": "r", "redacted": lambda text: text, **more}
    return stream_relay("openai", "openai", **given)


def chunk(delta, reason=None, index=0, **more):
    return {"id": "c", "choices": [{"index": index, "delta": delta, "finish_reason": reason}], **more}


def payloads(content):
    return [json.loads(line[6:]) for line in content.decode("utf-8", "surrogatepass").split("\n\n") if "{" in line]


def test_a_documented_stream_passes_with_usage_at_its_end():
    state = relay()
    sent = state.take(chunk({"role": "assistant", "content": ""}, system_fingerprint="fp", model="gpt-4o-mini"))
    sent += state.take(chunk({"content": "Hello"})) + state.take(chunk({}, "stop"))
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 4}}
    assert state.finished and state.take({"id": "c", "choices": [], "usage": usage}) == b""
    assert (state.tokens, state.text_length, state.provider_id) == (Tokens(9, 1, 4), 5, "c")
    sent += state.end(state.tokens, 7)
    assert sent.endswith(b"data: [DONE]\n\n")
    *chunks, last = payloads(sent)
    assert all(item["model"] == "here" and item["usage"] is None for item in chunks)
    assert chunks[0]["system_fingerprint"] == "fp" and chunks[0]["object"] == "chat.completion.chunk"
    assert last["choices"] == [] and last["usage"] == {**usage, "total_tokens": 10, "cost_usd_micros": 7}


def test_usage_is_not_told_to_who_did_not_ask():
    state = relay(include_usage=False)
    assert b"usage" not in state.take(chunk({"content": "x"}, "stop", usage={"prompt_tokens": 1}))
    assert state.tokens == Tokens(1) and state.end(state.tokens, 7) == b"data: [DONE]\n\n"


def test_it_is_finished_when_each_choice_is():
    state = relay()
    state.take(chunk({"content": "x"}))
    state.take(chunk({"content": "x"}, index=1))
    state.take(chunk({}, "stop", index=1))
    assert not state.finished
    state.take(chunk({}, "length"))
    assert state.finished
    assert not relay().finished


def test_an_error_event_is_a_failure_with_nothing_secret_in_it():
    state = relay(redacted=lambda text: text.replace("sk-1", "…"))
    with pytest.raises(UpstreamFailed) as failed:
        state.take({"error": {"message": "bad key sk-1", "type": "server_error"}})
    assert failed.value.public == "bad key …"
    for odd in ({"error": "sk-1 is wrong"}, {"error": {"code": 5}}, {"error": ["x"], **chunk({}, "error")}):
        with pytest.raises(UpstreamFailed, match=r"failed|wrong"):
            state.take(odd)
    assert state.take({"error": None, **chunk({"content": "x"})})


def test_half_a_surrogate_pair_and_huge_numbers_pass():
    [sent] = payloads(relay().take(chunk({"content": "\ud83d"}, extra=2**70)))
    assert sent["choices"][0]["delta"]["content"] == "\ud83d" and sent["extra"] == 2**70


@UNHURRIED
@given(st.lists(JSON, max_size=3), JSON)
def test_any_event_is_taken(choices, event):
    relay().take({**event, "choices": [{"delta": value, **value} for value in choices]})
    relay().take({**event, "choices": choices})
    relay().take(event)
