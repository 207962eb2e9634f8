"""A stream keeps OpenAI's promises whoever sends it."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway.services.gateway.chunks import ChunkStream
from slipway.services.gateway.models import Tokens
from slipway.services.gateway.token_counts import openai_tokens

# A busy machine is no failure.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def chunk(**delta):
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def test_usage_on_a_chunk_with_text_moves_to_a_chunk_of_its_own():
    state = ChunkStream("m", include_usage=True)
    sent = state.take({**chunk(content="x"), "usage": {"prompt_tokens": 3, "completion_tokens": 1, "x": {"y": 1}}})
    assert sent["usage"] is None and state.tokens == Tokens(3, 1)
    last = state.usage_chunk(state.tokens, 5)
    assert last["choices"] == [] and last["id"] == "c"
    assert last["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 1,
        "x": {"y": 1},
        "total_tokens": 4,
        "cost_usd_micros": 5,
    }


def test_usage_that_grows_with_each_chunk_counts_once():
    state = ChunkStream("m", include_usage=False)
    for completion in (1, 2, 3):
        sent = state.take({**chunk(content="x"), "usage": {"prompt_tokens": 3, "completion_tokens": completion}})
        assert "usage" not in sent
    assert state.tokens == Tokens(3, 3)


def test_the_role_stands_on_the_first_delta_of_each_choice_only():
    state = ChunkStream("m", include_usage=False)
    choices = [{"index": 1, "delta": {"content": "a"}}, {"index": 0, "delta": None}]
    first = state.take({"choices": choices})
    assert [choice["delta"].get("role") for choice in first["choices"]] == ["assistant", "assistant"]
    assert "role" not in state.take(chunk(content="b"))["choices"][0]["delta"]


def test_a_call_keeps_its_index_when_the_server_numbers_none():
    state = ChunkStream("m", include_usage=False)
    sent = [
        {"id": "a", "function": {"name": "f", "arguments": ""}},
        {"function": {"arguments": "{}"}},
        {"id": "b", "function": {"name": "g", "arguments": ""}},
        {"function": {"arguments": "{}"}},
        {"id": "a", "function": {"arguments": " "}},
    ]
    taken = [state.take(chunk(tool_calls=[call]))["choices"][0]["delta"]["tool_calls"][0]["index"] for call in sent]
    assert taken == [0, 0, 1, 1, 0]


@UNHURRIED
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30))
def test_numbers_that_are_right_stay_as_they_are(pieces):
    """A server that numbers calls 0, 1, 2 … as they begin, with an id on the first piece of each or on all."""
    state = ChunkStream("m", include_usage=False)
    begun = 0
    for wanted, with_id in pieces:
        index = min(wanted, begun)
        call = {"index": index, "function": {"arguments": "x"}}
        if index == begun or with_id:
            call["id"] = f"call_{index}"
        begun = max(begun, index + 1)
        taken = state.take(chunk(tool_calls=[call]))
        assert taken["choices"][0]["delta"]["tool_calls"][0]["index"] == index


def test_what_does_not_count_is_no_count():
    assert openai_tokens({"prompt_tokens": 0, "completion_tokens": 0}) == Tokens(0, 0)
    for usage in (None, [], {}, {"prompt_tokens": None}, {"prompt_tokens": -1}, {"prompt_tokens": "3"}):
        assert openai_tokens(usage) is None
