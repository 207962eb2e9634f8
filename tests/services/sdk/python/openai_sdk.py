"""OpenAI's official Python SDK as a client of the gateway; run by test_python_sdks.py in the SDK's own environment."""

import array
import base64
import math
from collections.abc import Iterator

import openai
import pytest

TEXT = "Fourteen days, says the handbook."
QUESTION = [{"role": "user", "content": "How many days do I have to return a laptop?"}]
PNG = base64.b64encode(bytes.fromhex("89504e470d0a1a0a")).decode()
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALLS = [("call_a", "weather", {"city": "Bern"}), ("call_b", "weather", {"city": "Oslo"})]


@pytest.fixture
def client(url: str, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=20) as client:
        yield client


def called(answer) -> list[tuple]:
    import json

    calls = answer.choices[0].message.tool_calls or []
    return [(call.id, call.function.name, json.loads(call.function.arguments)) for call in calls]


def test_chat(client, provider):
    answer = client.chat.completions.create(model=f"{provider}plain", messages=QUESTION)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (11, 7, 18)
    assert answer.usage.prompt_tokens_details.cached_tokens == 3
    assert answer._request_id.startswith("req_")


def test_chat_streamed(client, provider):
    with client.chat.completions.create(
        model=f"{provider}plain", messages=QUESTION, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == TEXT
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [18]
    assert chunks[-1].choices == [] and chunks[-2].choices[0].finish_reason == "stop"
    assert len({chunk.id for chunk in chunks}) == 1


def test_parallel_tool_calls_through_the_sdks_own_accumulator(client, provider):
    messages = [{"role": "user", "content": "The weather in two cities?"}]
    model = f"{provider}tools"
    with client.chat.completions.stream(model=model, messages=messages, tools=[WEATHER]) as stream:
        final = stream.get_final_completion()
    plain = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER])
    for answer in (final, plain):
        assert answer.choices[0].finish_reason == "tool_calls"
        assert called(answer) == CALLS


def test_whole_calls_without_numbers_of_their_own(client):
    with client.chat.completions.stream(model="unnumbered", messages=QUESTION, tools=[WEATHER]) as stream:
        assert called(stream.get_final_completion()) == CALLS


def test_a_tool_is_called_and_its_result_is_read(client, provider):
    model = f"{provider}tools"
    messages = [{"role": "user", "content": "The weather in Bern?"}]
    answer = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER])
    assert called(answer) == CALLS[:1]
    messages += [
        answer.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": "call_a", "content": "Sunny."},
    ]
    final = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER])
    assert final.choices[0].message.content == "It is sunny in Bern."
    assert final.choices[0].finish_reason == "stop"


def test_what_a_tool_answered_reaches_the_provider(client):
    """The test that runs this looks at what the provider got."""
    messages = [
        *QUESTION,
        {
            "role": "assistant",
            "tool_calls": [{"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
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


def test_an_image_reaches_the_model(client, provider):
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    ]
    answer = client.chat.completions.create(model=f"{provider}images", messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content == "image/png 8 bytes 4c4b6a3be131"


def test_an_image_by_its_address_is_the_providers_to_fetch(client):
    parts = [{"type": "image_url", "image_url": {"url": "https://images.example/a.png"}}]
    messages = [{"role": "user", "content": parts}]
    for provider in ("", "anthropic-"):
        answer = client.chat.completions.create(model=f"{provider}images", messages=messages)
        assert answer.choices[0].message.content == "url https://images.example/a.png"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="bedrock-images", messages=messages)


def test_an_answer_that_reached_its_limit_says_so(client, provider):
    answer = client.chat.completions.create(model=f"{provider}limited", messages=QUESTION, max_tokens=7)
    assert answer.choices[0].finish_reason == "length"


def test_the_embedded_models(client):
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    answer = client.chat.completions.create(model="default", messages=messages)
    assert answer.model == "extractive" and answer.choices[0].message.content
    streamed = client.chat.completions.create(model="default", messages=messages, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == answer.choices[0].message.content


def test_embeddings_are_the_same_in_both_encodings(client):
    texts = ["return a laptop", "the moon", "a laptop that is returned"]
    vectors = []
    for text in texts:
        packed = client.embeddings.create(model="all-minilm-l6-v2", input=text, encoding_format="base64")
        vectors.append(array.array("f", base64.b64decode(packed.data[0].embedding)))
    floats = client.embeddings.create(model="all-minilm-l6-v2", input=texts, encoding_format="float")
    for vector, each in zip(vectors, floats.data, strict=True):
        assert all(math.isclose(a, b, abs_tol=1e-5) for a, b in zip(vector, each.embedding, strict=True))
    near, far = (sum(a * b for a, b in zip(vectors[0], vectors[index], strict=True)) for index in (2, 1))
    assert near > 0.6 > far
    assert floats.usage.prompt_tokens == floats.usage.total_tokens > 0
    implied = client.embeddings.create(model="all-minilm-l6-v2", input=texts)  # the SDK may ask for base64 by itself
    assert all(
        math.isclose(a, b, abs_tol=1e-6)
        for a, b in zip(implied.data[0].embedding, floats.data[0].embedding, strict=True)
    )


def test_models(client):
    names = [model.id for model in client.models.list()]
    assert {"extractive", "all-minilm-l6-v2", "plain", "anthropic-plain", "bedrock-plain"} <= set(names)
    assert client.models.retrieve("plain").owned_by == "openai"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nope")


@pytest.mark.parametrize(
    ("model", "error", "status"),
    [
        ("rate-limited", openai.RateLimitError, 429),
        ("broken", openai.InternalServerError, 502),
        ("overloaded", openai.InternalServerError, 503),
        ("strict", openai.BadRequestError, 400),
        ("wrong-key", openai.InternalServerError, 502),
    ],
)
def test_each_error_of_a_provider_is_the_sdks_own(client, provider, model, error, status):
    for stream in (False, True):
        with pytest.raises(error) as raised:
            client.chat.completions.create(model=f"{provider}{model}", messages=QUESTION, stream=stream)
        assert raised.value.status_code == status
        assert raised.value.request_id.startswith("req_")
        if model == "rate-limited":
            assert 1 <= int(raised.value.response.headers["retry-after"]) <= 17


def test_errors_of_the_gateway_are_the_sdks_own(client):
    with pytest.raises(openai.AuthenticationError) as unknown:
        client.with_options(api_key="sk-nonsense").models.list()
    assert unknown.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nope", messages=QUESTION)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    assert missing.value.request_id.startswith("req_")
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model="extractive", messages=QUESTION, n=2)
    assert wrong.value.param == "n"
    with pytest.raises(openai.BadRequestError, match="Unsupported value: 'temperature'"):
        client.chat.completions.create(model="strict", messages=QUESTION, temperature=1)


def test_timeouts_on_both_sides(client):
    with pytest.raises(openai.InternalServerError) as late:
        client.chat.completions.create(model="silent", messages=QUESTION)
    assert late.value.status_code == 504
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.2).chat.completions.create(model="silent", messages=QUESTION)


def test_the_sdk_tries_again_what_may_pass(client):
    with pytest.raises(openai.InternalServerError):
        client.with_options(max_retries=1).chat.completions.create(model="overloaded", messages=QUESTION)


@pytest.mark.parametrize("model", ["midway", "cut", "severed"])
def test_an_error_within_a_stream_is_raised_not_swallowed(client, provider, model):
    words = []
    with pytest.raises(openai.APIError) as broken:
        for chunk in client.chat.completions.create(model=f"{provider}{model}", messages=QUESTION, stream=True):
            words.append(chunk.choices[0].delta.content or "")
    assert "".join(words) == "Fourteen days,"
    assert broken.value.body["code"] == "upstream_failed"


@pytest.mark.anyio
async def test_leaving_a_stream(url, key):
    """The test that runs this looks whether the provider's connection was closed."""
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        stream = await client.chat.completions.create(model="slow", messages=QUESTION, stream=True)
        await anext(aiter(stream))
        await stream.close()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
