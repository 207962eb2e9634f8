"""Anthropic's documented examples, read and written, to and from OpenAI's wire."""

import json

import pytest

from slipway.services.gateway.models import InvalidParameter, Tokens
from slipway.services.gateway.relay import answer_for, provider_body, with_usage
from slipway.services.gateway.token_counts import anthropic_tokens, converse_tokens, openai_tokens
from slipway.services.gateway.wire_anthropic_request import anthropic_request

WEATHER = {
    "type": "object",
    "properties": {"location": {"type": "string", "description": "The city, e.g. San Francisco"}},
    "required": ["location"],
}


def translated(body, to="openai", model="gpt", **more):
    return provider_body("anthropic", to, body, model, stream=False, max_tokens=None, **more)


def test_a_conversation_with_tools_images_and_a_schema_becomes_openais():
    body = {
        "model": "m",
        "max_tokens": 1024,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "tools": [{"name": "get_weather", "description": "The weather.", "input_schema": WEATHER}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u"},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": WEATHER}},
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
                    {"type": "image", "source": {"type": "url", "url": "https://images.example/a.png"}},
                    {"type": "text", "text": "Weather here and there?"},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"location": "Paris"}},
                    {"type": "tool_use", "id": "toolu_2", "name": "get_weather", "input": {"location": "Rome"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "15 degrees"},
                    {"type": "tool_result", "tool_use_id": "toolu_2", "content": "no such place", "is_error": True},
                    {"type": "text", "text": "Go on."},
                ],
            },
        ],
    }
    call = {"type": "function", "function": {"name": "get_weather"}}
    assert translated(body) == {
        "model": "gpt",
        "max_completion_tokens": 1024,
        "tools": [
            {
                "type": "function",
                "function": {"name": "get_weather", "description": "The weather.", "parameters": WEATHER},
            }
        ],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "stop": ["END"],
        "user": "u",
        "reasoning_effort": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": WEATHER, "strict": True},
        },
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
                    {"type": "image_url", "image_url": {"url": "https://images.example/a.png"}},
                    {"type": "text", "text": "Weather here and there?"},
                ],
            },
            {
                "role": "assistant",
                "content": "I look.",
                "tool_calls": [
                    {**call, "id": "toolu_1", "function": {"name": "get_weather", "arguments": '{"location":"Paris"}'}},
                    {**call, "id": "toolu_2", "function": {"name": "get_weather", "arguments": '{"location":"Rome"}'}},
                ],
            },
            {"role": "tool", "tool_call_id": "toolu_1", "content": "15 degrees"},
            {
                "role": "tool",
                "tool_call_id": "toolu_2",
                "content": [{"type": "text", "text": "The tool failed:"}, {"type": "text", "text": "no such place"}],
            },
            {"role": "user", "content": "Go on."},
        ],
    }


def test_openais_request_becomes_anthropics_with_a_bound_that_is_always_there():
    body = {
        "model": "m",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}},
            ]},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "strict": True}}],
        "parallel_tool_calls": False,
        "stop": "END",
        "stream": True,
        "stream_options": {"include_usage": True},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "description": "An answer.", "schema": {"type": "object"}, "strict": True},
        },
        "reasoning_effort": "high",
    }  # fmt: skip
    written = provider_body("openai", "anthropic", body, "claude", stream=True, max_tokens=None)
    assert written == {
        "model": "claude",
        "max_tokens": 4096,
        "stream": True,
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "1"}]}],
            },
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}, "strict": True}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "stop_sequences": ["END"],
        "thinking": {"type": "adaptive"},
        "output_config": {
            "effort": "high",
            "format": {"type": "json_schema", "schema": {"type": "object", "description": "An answer."}},
        },
    }
    for given, cap, expected in ((None, 77, 77), (5, 77, 5), (None, None, 4096)):
        asked = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": given}
        written = provider_body("openai", "anthropic", asked, "claude", stream=False, max_tokens=cap)
        assert written["max_tokens"] == expected and "stream" not in written


def test_openais_own_body_passes_with_usage_asked_for_and_a_bound_only_where_there_is_none():
    body = {"model": "m", "messages": [], "stream": True, "stream_options": {"x": 1}, "anything": {"y": 1}}
    written = provider_body("openai", "openai", body, "gpt", stream=True, max_tokens=9)
    assert written == {
        **body, "model": "gpt", "stream_options": {"x": 1, "include_usage": True}, "max_completion_tokens": 9,
    }  # fmt: skip
    assert body["stream_options"] == {"x": 1}
    written = provider_body("openai", "openai", {**body, "max_tokens": 3}, "gpt", stream=True, max_tokens=9)
    assert written["max_tokens"] == 3 and "max_completion_tokens" not in written


MESSAGE = {
    "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [
        {"type": "thinking", "thinking": "Where?", "signature": "EqQB"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"location": "Paris"}},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 21,
        "cache_creation_input_tokens": 188,
        "cache_read_input_tokens": 1000,
        "cache_creation": {"ephemeral_5m_input_tokens": 88, "ephemeral_1h_input_tokens": 100},
        "output_tokens": 393,
        "service_tier": "standard",
    },
}


def test_an_answer_of_anthropics_becomes_a_chat_completion():
    body, tokens, provider_id = answer_for(
        "openai", "anthropic", json.loads(json.dumps(MESSAGE)), model="here", request_id="r"
    )
    assert tokens == Tokens(1209, 393, 1000, 88, 100) and provider_id == MESSAGE["id"]
    assert body["model"] == "here" and body["object"] == "chat.completion" and body["id"] == MESSAGE["id"]
    [choice] = body["choices"]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] == "I look."
    assert choice["message"]["reasoning_content"] == "Where?"
    assert choice["message"]["thinking_blocks"] == [MESSAGE["content"][0]]
    [call] = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "get_weather", "arguments": '{"location":"Paris"}'}
    usage = with_usage("openai", body, tokens, 5)["usage"]
    assert usage["prompt_tokens"] == 1209 and usage["total_tokens"] == 1602 and usage["cost_usd_micros"] == 5
    assert usage["prompt_tokens_details"] == {"cached_tokens": 1000, "cache_write_tokens": 188}


def test_thinking_that_a_client_sends_back_keeps_its_signature():
    body, _, _ = answer_for("openai", "anthropic", json.loads(json.dumps(MESSAGE)), model="here", request_id="r")
    message = {key: value for key, value in body["choices"][0]["message"].items() if value is not None}
    asked = {"model": "m", "messages": [{"role": "user", "content": "x"}, message]}
    written = provider_body("openai", "anthropic", asked, "claude", stream=False, max_tokens=None)
    assert written["messages"][1]["content"] == MESSAGE["content"][:3]


def test_anthropics_own_answer_passes_with_its_cost():
    body, tokens, _ = answer_for(
        "anthropic", "anthropic", json.loads(json.dumps(MESSAGE)), model="here", request_id="r"
    )
    body = with_usage("anthropic", body, tokens, 5)
    assert body == {**MESSAGE, "model": "here", "usage": {**MESSAGE["usage"], "cost_usd_micros": 5}}


@pytest.mark.parametrize(
    ("reason", "stop"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("tool_calls", "tool_use"), ("content_filter", "refusal")],
)
def test_reasons_to_stop_become_anthropics(reason, stop):
    message = {"role": "assistant", "content": "x"}
    choice = {"index": 0, "message": message, "finish_reason": reason}
    body, _, _ = answer_for("anthropic", "openai", {"id": "c", "choices": [choice]}, model="here", request_id="r")
    assert (body["stop_reason"], body["content"]) == (stop, [{"type": "text", "text": "x"}])


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("a_new_one", "stop"),
    ],
)
def test_reasons_to_stop_become_openais(reason, stop):
    body, _, _ = answer_for("openai", "anthropic", {"content": [], "stop_reason": reason}, model="m", request_id="r")
    assert body["choices"][0]["finish_reason"] == stop


def test_counts_that_are_none_are_no_counts():
    for read, prompt, completion in (
        (openai_tokens, "prompt_tokens", "completion_tokens"),
        (anthropic_tokens, "input_tokens", "output_tokens"),
        (converse_tokens, "inputTokens", "outputTokens"),
    ):
        assert read({prompt: 0, completion: 0}) == Tokens(0, 0)
        for wrong in (None, -1, "3", 1.5, True, [], {}):
            assert read({prompt: wrong}) is None and read(wrong) is None
            assert read({prompt: 3, completion: wrong}) == Tokens(3, 0)
    assert openai_tokens({"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 9}}) == Tokens(3, 0, 3)
    assert converse_tokens(
        {"inputTokens": 1, "outputTokens": 2, "cacheReadInputTokens": 4, "cacheWriteInputTokens": 8,
         "cacheDetails": [{"ttl": "1h", "inputTokens": 5}, {"ttl": "5m", "inputTokens": 3}]}
    ) == Tokens(13, 2, 4, 3, 5)  # fmt: skip


@pytest.mark.parametrize(
    ("param", "change"),
    [
        ("model", {"model": None}),
        ("messages", {"messages": []}),
        ("messages.0.role", {"messages": [{"role": "tool", "content": "x"}]}),
        ("messages.0.content", {"messages": [{"role": "user"}]}),
        ("max_tokens", {"max_tokens": None}),
        ("max_tokens", {"max_tokens": True}),
        ("max_tokens", {"max_tokens": 0}),
        ("stream", {"stream": "yes"}),
    ],
)
def test_a_wrong_request_is_refused_by_name(param, change):
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
    assert anthropic_request({**body, "stream": True}, 9).stream
    with pytest.raises(InvalidParameter) as refused:
        anthropic_request({**body, **change}, 9)
    assert refused.value.param == param


def test_counting_needs_no_bound():
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    assert anthropic_request(body, 9, counting=True).model == "m"
