"""What cannot be translated is refused by name; what asks for nothing is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.services.gateway import wire_anthropic_request, wire_openai_request
from slipway.services.gateway.conversation import Conversation
from slipway.services.gateway.models import InvalidParameter
from slipway.services.gateway.relay import provider_body
from tests.unit.services.gateway.conversations import JSON, UNHURRIED

ASKED = [{"role": "user", "content": "x"}]
CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
PICTURE = {"type": "image_url", "image_url": {"url": "https://images.example/a.png"}}
TOOL = {"type": "function", "function": {"name": "f"}}


def user(*parts):
    return [{"role": "user", "content": list(parts)}]


FROM_OPENAI = [
    ("n", {"n": 2}),
    ("logprobs", {"logprobs": True}),
    ("top_logprobs", {"top_logprobs": 3}),
    ("logit_bias", {"logit_bias": {"5": 1}}),
    ("frequency_penalty", {"frequency_penalty": 0.5}),
    ("presence_penalty", {"presence_penalty": 0.5}),
    ("seed", {"seed": 1}),
    ("modalities", {"modalities": ["text", "audio"]}),
    ("audio", {"audio": {"voice": "x"}}),
    ("prediction", {"prediction": {"type": "content", "content": "x"}}),
    ("store", {"store": True}),
    ("service_tier", {"service_tier": "flex"}),
    ("verbosity", {"verbosity": "low"}),
    ("web_search_options", {"web_search_options": {}}),
    ("functions", {"functions": [{"name": "f"}]}),
    ("function_call", {"function_call": "auto"}),
    ("prompt_cache_key", {"prompt_cache_key": "x"}),
    ("response_format.type", {"response_format": {"type": "json_object"}}),
    ("reasoning_effort", {"reasoning_effort": "minimal"}),
    ("some_new_key", {"some_new_key": 1}),
    ("tools.0.type", {"tools": [{"type": "custom", "custom": {"name": "f"}}]}),
    ("tools.0.function.some_key", {"tools": [{"type": "function", "function": {"name": "f", "some_key": 1}}]}),
    ("tool_choice.type", {"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}),
    ("messages.0.name", {"messages": [{"role": "user", "content": "x", "name": "ann"}]}),
    ("messages.0.role", {"messages": [{"role": "function", "content": "x", "name": "f"}]}),
    ("messages.0.content.0.type", {"messages": user({"type": "input_audio", "input_audio": {}})}),
    (
        "messages.0.content.image_url.detail",
        {"messages": user({**PICTURE, "image_url": {"url": "u", "detail": "low"}})},
    ),
    ("messages.0.content.0.file.file_id", {"messages": user({"type": "file", "file": {"file_id": "f_1"}})}),
    ("messages.0.reasoning_content", {"messages": [{"role": "assistant", "content": "x", "reasoning_content": "y"}]}),
    (
        "messages.0.tool_calls.0.function.arguments",
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{"}}]}]},
    ),
]


@pytest.mark.parametrize(("param", "keys"), FROM_OPENAI, ids=[param for param, _ in FROM_OPENAI])
def test_openais_keys_without_a_place_at_anthropic_are_named(param, keys):
    body = {"model": "m", "messages": ASKED, **keys}
    with pytest.raises(InvalidParameter) as refused:
        provider_body("openai", "anthropic", body, "claude", stream=False, max_tokens=None)
    assert refused.value.param == param and param in refused.value.public
    same = provider_body("openai", "openai", body, "gpt", stream=False, max_tokens=None)
    assert same == {**body, "model": "gpt"}


FROM_ANTHROPIC = [
    ("top_k", {"top_k": 5}),
    ("container", {"container": "c_1"}),
    ("mcp_servers", {"mcp_servers": [{}]}),
    ("service_tier", {"service_tier": "priority"}),
    ("thinking.budget_tokens", {"thinking": {"type": "enabled", "budget_tokens": 2000}}),
    ("thinking.display", {"thinking": {"type": "adaptive", "display": "omitted"}}),
    ("thinking.type", {"thinking": {"type": "between_tools"}}),
    ("tools.0.type", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    ("tools.0.defer_loading", {"tools": [{"name": "f", "input_schema": {}, "defer_loading": True}]}),
    ("messages.0.content.0.type", {"messages": user({"type": "search_result", "source": "x"})}),
    ("messages.0.content.0.source.type", {"messages": user({"type": "image", "source": {"type": "file"}})}),
    (
        "messages.0.content",
        {"messages": user({"type": "document", "source": {"type": "url", "url": "https://documents.example/a"}})},
    ),
    (
        "messages.0.content.0.citations",
        {"messages": user({"type": "text", "text": "x", "citations": [{"type": "page_location"}]})},
    ),
]


@pytest.mark.parametrize(("param", "keys"), FROM_ANTHROPIC, ids=[param for param, _ in FROM_ANTHROPIC])
def test_anthropics_keys_without_a_place_at_openai_are_named(param, keys):
    body = {"model": "m", "messages": ASKED, "max_tokens": 9, **keys}
    with pytest.raises(InvalidParameter) as refused:
        provider_body("anthropic", "openai", body, "gpt", stream=False, max_tokens=None)
    assert refused.value.param == param and param in refused.value.public
    same = provider_body("anthropic", "anthropic", body, "claude", stream=False, max_tokens=None)
    assert same == {**body, "model": "claude"}


TO_CONVERSE = [
    ("seed", {"seed": 1}, CLAUDE),
    ("user", {"user": "u"}, CLAUDE),
    ("tool_choice", {"tools": [TOOL], "tool_choice": "none"}, CLAUDE),
    ("tool_choice", {"tool_choice": "required"}, CLAUDE),
    ("parallel_tool_calls", {"tools": [TOOL], "parallel_tool_calls": False}, "amazon.nova-pro-v1:0"),
    ("thinking", {"reasoning_effort": "none"}, "amazon.nova-pro-v1:0"),
    ("messages.0.content.image.url", {"messages": user(PICTURE)}, CLAUDE),
    ("messages.1.role", {"messages": [*ASKED, {"role": "system", "content": "x"}]}, CLAUDE),
    (
        "messages.0.content.image.media_type",
        {"messages": user({"type": "image_url", "image_url": {"url": "data:image/bmp;base64,aGk="}})},
        CLAUDE,
    ),
]


@pytest.mark.parametrize(("param", "keys", "model"), TO_CONVERSE)
def test_keys_without_a_place_at_converse_are_named(param, keys, model):
    body = {"model": "m", "messages": ASKED, **keys}
    with pytest.raises(InvalidParameter) as refused:
        provider_body("openai", "converse", body, model, stream=False, max_tokens=None)
    assert refused.value.param == param and param in refused.value.public


def test_what_asks_for_nothing_is_no_reason_to_refuse():
    body = {
        "model": "m",
        "messages": ASKED,
        "n": 1,
        "store": False,
        "logprobs": False,
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "modalities": ["text"],
        "service_tier": "auto",
        "response_format": {"type": "text"},
        "seed": None,
        "tools": [],
        "logit_bias": None,
    }
    plain = wire_openai_request.request_read({"model": "m", "messages": ASKED})
    assert wire_openai_request.request_read(body) == plain


@UNHURRIED
@given(st.sampled_from(["openai", "anthropic"]), JSON, st.text("abcxyz_", min_size=12, max_size=15))
def test_a_key_nobody_knows_is_named_wherever_it_stands(wire, value, key):
    read = wire_anthropic_request.request_read if wire == "anthropic" else wire_openai_request.request_read
    part = {"type": "text", "text": "x"}
    for path, body in (
        (key, {"messages": ASKED, key: value}),
        (f"messages.0.{key}", {"messages": [{"role": "user", "content": "x", key: value}]}),
        (f"messages.0.content.0.{key}", {"messages": user({**part, key: value})}),
    ):
        with pytest.raises(InvalidParameter) as refused:
            read({"model": "m", **body})
        assert refused.value.param == path


@UNHURRIED
@given(
    st.sampled_from(["openai", "anthropic"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "role", "content", "text", "name", "function", "source", "id", "cache_control"]
                ),
                x,
            )
        ),
    ),
    st.sampled_from(
        [
            "messages",
            "tools",
            "tool_choice",
            "response_format",
            "output_config",
            "system",
            "stop",
            "thinking",
            "metadata",
            "max_tokens",
        ]
    ),
)
def test_any_json_is_read_or_refused_in_words(wire, value, key):
    read = wire_anthropic_request.request_read if wire == "anthropic" else wire_openai_request.request_read
    try:
        assert isinstance(read({"model": "m", "messages": ASKED, key: value}), Conversation)
    except InvalidParameter as error:
        assert error.public and error.param.split(".")[0] == key
