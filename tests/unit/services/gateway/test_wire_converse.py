"""Bedrock's Converse: what is asked of it and what its documented answers mean, checked with botocore's own model."""

import json
from dataclasses import replace

import botocore.session
import pytest
from botocore.validate import ParamValidator
from hypothesis import given

from slipway.base.errors import UpstreamFailed
from slipway.services.gateway import wire_converse
from slipway.services.gateway.conversation import Collected
from slipway.services.gateway.models import InvalidParameter, Tokens
from slipway.services.gateway.relay import answer_for, provider_body
from tests.unit.services.gateway.conversations import UNHURRIED, anthropic_conversations

CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"


@pytest.fixture(scope="module")
def shape():
    session = botocore.session.Session()
    return session.get_service_model("bedrock-runtime").operation_model("Converse").input_shape


@UNHURRIED
@given(anthropic_conversations())
def test_what_is_written_is_a_request_as_aws_models_it(shape, conversation):
    messages = tuple(message for message in conversation.messages if message.role != "system")
    conversation = replace(conversation, user_id=None, messages=messages)
    try:
        body = wire_converse.request_write(conversation, CLAUDE)
    except InvalidParameter as refused:
        assert refused.param
        return
    report = ParamValidator().validate({"modelId": CLAUDE, **json.loads(json.dumps(body))}, shape)
    assert not report.has_errors(), report.generate_report()


def test_a_request_of_either_wire_becomes_converses():
    body = {
        "model": "m",
        "max_tokens": 100,
        "temperature": 0.5,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "f"},
        "stop_sequences": ["END"],
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        "messages": [
            {"role": "user", "content": "Look."},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                    {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "1"}]},
            {
                "role": "user",
                "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}],
            },
        ],
    }
    written = provider_body("anthropic", "converse", body, CLAUDE, stream=True, max_tokens=5)
    assert written == {
        "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default", "ttl": "1h"}}],
        "inferenceConfig": {"maxTokens": 100, "temperature": 0.5, "stopSequences": ["END"]},
        "toolConfig": {
            "tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}],
            "toolChoice": {"tool": {"name": "f"}},
        },
        "outputConfig": {
            "textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": '{"type":"object"}'}}}
        },
        "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2000}},
        "additionalModelResponseFieldPaths": ["/stop_sequence"],
        "messages": [
            {"role": "user", "content": [{"text": "Look."}]},
            {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s"}}},
                    {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": 1}}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"toolResult": {"toolUseId": "t", "content": [{"text": "1"}], "status": "success"}},
                    {"image": {"format": "png", "source": {"bytes": "aGk="}}},
                ],
            },
        ],
    }
    bare = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    assert provider_body("openai", "converse", bare, CLAUDE, stream=False, max_tokens=5)["inferenceConfig"] == {
        "maxTokens": 5
    }


ANSWER = {
    "output": {
        "message": {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s"}}},
                {"text": "I look."},
                {"toolUse": {"toolUseId": "t_1", "name": "top_song", "input": {"sign": "WZPZ"}}},
            ],
        }
    },
    "stopReason": "tool_use",
    "usage": {"inputTokens": 30, "outputTokens": 62, "totalTokens": 102, "cacheReadInputTokens": 10},
    "metrics": {"latencyMs": 1175},
}


def test_an_answer_of_converse_reaches_either_wire():
    body, tokens, provider_id = answer_for("anthropic", "converse", ANSWER, model="here", request_id="req_1")
    assert tokens == Tokens(40, 62, 10) and provider_id is None
    assert (body["id"], body["model"], body["stop_reason"]) == ("req_1", "here", "tool_use")
    assert [block["type"] for block in body["content"]] == ["thinking", "text", "tool_use"]
    body, _, _ = answer_for("openai", "converse", ANSWER, model="here", request_id="req_1")
    assert body["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == '{"sign":"WZPZ"}'


EVENTS = [
    {"messageStart": {"role": "assistant"}},
    {"contentBlockDelta": {"delta": {"reasoningContent": {"text": "Hm."}}, "contentBlockIndex": 0}},
    {"contentBlockDelta": {"delta": {"reasoningContent": {"signature": "s"}}, "contentBlockIndex": 0}},
    {"contentBlockStop": {"contentBlockIndex": 0}},
    {"contentBlockDelta": {"delta": {"text": "I "}, "contentBlockIndex": 1}},
    {"contentBlockDelta": {"delta": {"text": "look."}, "contentBlockIndex": 1}},
    {"contentBlockStop": {"contentBlockIndex": 1}},
    {"contentBlockStart": {"start": {"toolUse": {"toolUseId": "t_1", "name": "top_song"}}, "contentBlockIndex": 2}},
    {"contentBlockDelta": {"delta": {"toolUse": {"input": '{"sign":'}}, "contentBlockIndex": 2}},
    {"contentBlockDelta": {"delta": {"toolUse": {"input": '"WZPZ"}'}}, "contentBlockIndex": 2}},
    {"contentBlockStop": {"contentBlockIndex": 2}},
    {"messageStop": {"stopReason": "tool_use"}},
    {"metadata": {"usage": ANSWER["usage"], "metrics": {"latencyMs": 1}}},
]


def test_a_stream_of_converse_says_what_its_plain_answer_says():
    reader, gathered = wire_converse.StreamReader(), Collected()
    for event in EVENTS:
        for delta in reader.take(event):
            gathered.add(delta)
    assert gathered.answer() == wire_converse.answer_read(ANSWER)


def test_what_the_model_broke_is_a_failure():
    for reason in ("malformed_model_output", "malformed_tool_use"):
        with pytest.raises(UpstreamFailed):
            wire_converse.answer_read({**ANSWER, "stopReason": reason})
    for body in ({}, {"output": None}, {"output": {"message": {}}}):
        with pytest.raises(UpstreamFailed):
            wire_converse.answer_read(body)
