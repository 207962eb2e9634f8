"""OpenAI's official Python SDK as a client of the gateway."""

import asyncio
import base64
import time
from collections.abc import Iterator

import numpy as np
import openai
import pytest

from tests.services.gateway_serving import usage_rows

QUESTION = [{"role": "user", "content": "How many days do I have to return a laptop?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
def client(served, api_key) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=api_key, max_retries=0, timeout=20) as client:
        yield client


def test_chat(client):
    answer = client.chat.completions.create(model="plain", messages=QUESTION)
    assert answer.choices[0].message.content == "Fourteen days, says the handbook."
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (11, 7, 18)
    assert answer._request_id.startswith("req_")


def test_chat_streamed(client):
    with client.chat.completions.create(
        model="plain", messages=QUESTION, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Fourteen days, says the handbook."
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [18]
    assert chunks[-1].choices == [] and chunks[-2].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("model", ["plain", "unnumbered"])
def test_parallel_tool_calls_through_the_sdks_own_accumulator(client, model):
    with client.chat.completions.stream(model=model, messages=QUESTION, tools=[WEATHER]) as stream:
        final = stream.get_final_completion()
    plain = client.chat.completions.create(model=model, messages=QUESTION, tools=[WEATHER])
    for answer in (final, plain):
        calls = answer.choices[0].message.tool_calls
        assert answer.choices[0].finish_reason == "tool_calls"
        assert [(call.id, call.function.name, call.function.arguments) for call in calls] == [
            ("call_a", "weather", '{"city":"Bern"}'),
            ("call_b", "weather", '{"city":"Oslo"}'),
        ]


def test_what_a_tool_answered_reaches_the_provider(client, simulator):
    messages = [
        *QUESTION,
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_a", "content": "Sunny."},
    ]
    client.chat.completions.create(
        model="plain",
        messages=messages,
        tool_choice="none",
        tools=[WEATHER],
        seed=5,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
    )
    sent = simulator.seen.requests[-1]
    assert sent["messages"] == messages and sent["tools"] == [WEATHER]
    assert (sent["tool_choice"], sent["seed"]) == ("none", 5)
    assert sent["response_format"]["json_schema"]["name"] == "x"


def test_the_embedded_models(client):
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    answer = client.chat.completions.create(model="default", messages=messages)
    assert answer.model == "extractive" and answer.choices[0].message.content
    streamed = client.chat.completions.create(model="default", messages=messages, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == answer.choices[0].message.content


def test_embeddings_are_the_same_in_both_encodings(client):
    texts = ["return a laptop", "the moon", "a laptop that is returned"]
    packed = client.embeddings.create(model="all-minilm-l6-v2", input=texts)  # the SDK asks for base64 by itself
    floats = client.embeddings.create(model="all-minilm-l6-v2", input=texts, encoding_format="float")
    for one, other in zip(packed.data, floats.data, strict=True):
        assert np.array_equal(np.array(one.embedding, np.float32), np.array(other.embedding, np.float32))
    coded = client.embeddings.create(model="all-minilm-l6-v2", input=texts[0], encoding_format="base64")
    vector = np.frombuffer(base64.b64decode(coded.data[0].embedding), "<f4")
    assert np.allclose(vector, packed.data[0].embedding, atol=1e-6)
    near, far = (float(vector @ np.array(packed.data[index].embedding)) for index in (2, 1))
    assert near > 0.6 > far
    assert packed.usage.prompt_tokens == packed.usage.total_tokens > 0


def test_models(client):
    names = [model.id for model in client.models.list()]
    assert {"extractive", "all-minilm-l6-v2", "plain"} <= set(names)
    assert client.models.retrieve("plain").owned_by == "openai"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nope")


def test_errors_are_the_sdks_own(client, served):
    def ask(model: str = "plain", **options):
        return client.chat.completions.create(model=model, messages=QUESTION, **options)

    with pytest.raises(openai.AuthenticationError) as unknown:
        client.with_options(api_key="sk-nonsense").models.list()
    assert unknown.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as missing:
        ask("nope")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    assert missing.value.request_id.startswith("req_")
    with pytest.raises(openai.BadRequestError) as wrong:
        ask("extractive", n=2)
    assert wrong.value.param == "n"
    with pytest.raises(openai.BadRequestError, match="Unsupported value: 'temperature'"):
        ask("strict", temperature=3)
    with pytest.raises(openai.RateLimitError) as limited:
        ask("rate-limited")
    assert limited.value.response.headers["retry-after"] == "17"
    with pytest.raises(openai.InternalServerError) as broken:
        ask("broken")
    assert broken.value.status_code == 502
    with pytest.raises(openai.InternalServerError) as late:
        ask("silent")
    assert late.value.status_code == 504
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.2).chat.completions.create(model="silent", messages=QUESTION)


def test_the_sdk_tries_again_what_may_pass(client, simulator):
    before = simulator.seen.by_model["overloaded"]
    with pytest.raises(openai.InternalServerError):
        client.with_options(max_retries=1).chat.completions.create(model="overloaded", messages=QUESTION)
    assert simulator.seen.by_model["overloaded"] - before == 2 * 3  # its two attempts, three of the gateway in each


def test_an_error_within_a_stream_is_raised_not_swallowed(client):
    for model in ("midway", "cut"):
        words = []
        with pytest.raises(openai.APIError) as broken:
            for chunk in client.chat.completions.create(model=model, messages=QUESTION, stream=True):
                words.append(chunk.choices[0].delta.content or "")
        assert "".join(words) == "Fourteen days,"
        assert broken.value.body["code"] == "upstream_failed"


@pytest.mark.anyio
async def test_leaving_a_stream_cancels_the_provider(served, api_key, simulator, caller):
    before = simulator.seen.hung_up["slow"]
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=api_key, max_retries=0) as client:
        async with await client.chat.completions.create(model="slow", messages=QUESTION, stream=True) as stream:
            await anext(aiter(stream))
        left_s = time.monotonic()
        while simulator.seen.hung_up["slow"] == before:
            assert time.monotonic() - left_s < 5, "the provider's connection stayed open"
            await asyncio.sleep(0.002)
    [row] = await asyncio.to_thread(usage_rows, served, caller, 1)
    assert row["status"] == "cancelled"
