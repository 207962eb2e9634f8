"""Anthropic's official Python SDK as a client; run by test_python_sdks.py in the SDK's own environment.

It runs against the gateway, for models of each provider, and once against the simulated provider itself.
"""

import base64
import hashlib
from collections.abc import Iterator

import anthropic
import pytest

TEXT = "Fourteen days, says the handbook."
QUESTION = [{"role": "user", "content": "How many days do I have to return a laptop?"}]
PNG = bytes.fromhex("89504e470d0a1a0a")
WEATHER = {
    "name": "weather",
    "description": "The weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CALLS = [("call_a", "weather", {"city": "Bern"}), ("call_b", "weather", {"city": "Oslo"})]


@pytest.fixture
def client(url: str, key: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, timeout=20) as client:
        yield client


def called(message) -> list[tuple]:
    return [(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"]


def test_a_message(client, provider):
    message = client.messages.create(model=f"{provider}plain", max_tokens=50, messages=QUESTION, system="Be brief.")
    assert (message.type, message.role) == ("message", "assistant")
    assert [(block.type, block.text) for block in message.content] == [("text", TEXT)]
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (8, 3, 7)
    assert message._request_id.startswith("req_")


def test_a_message_streamed(client, provider):
    with client.messages.stream(model=f"{provider}plain", max_tokens=50, messages=QUESTION) as stream:
        assert "".join(stream.text_stream) == TEXT
        message = stream.get_final_message()
    assert message.stop_reason == "end_turn"
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (8, 3, 7)


def test_events_come_in_the_documented_order(client, provider):
    kinds = []
    for event in client.messages.create(model=f"{provider}plain", max_tokens=50, messages=QUESTION, stream=True):
        kinds.append(event.type)
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


@pytest.mark.parametrize(("question", "calls"), [("The weather in Bern?", 1), ("The weather in two cities?", 2)])
def test_tools_through_the_sdks_own_accumulator(client, provider, question, calls):
    asked = {
        "model": f"{provider}tools",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": question}],
        "tools": [WEATHER],
    }
    with client.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    plain = client.messages.create(**asked)
    for message in (streamed, plain):
        assert message.stop_reason == "tool_use"
        assert called(message) == CALLS[:calls]
    results = [{"type": "tool_result", "tool_use_id": call[0], "content": "Sunny."} for call in called(plain)]
    content = [block.model_dump(exclude_none=True) for block in plain.content]
    asked["messages"] += [{"role": "assistant", "content": content}, {"role": "user", "content": results}]
    final = client.messages.create(**asked)
    assert (final.content[0].text, final.stop_reason) == ("It is sunny in Bern.", "end_turn")


def test_an_image_reaches_the_model(client, provider):
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
    content = [{"type": "text", "text": "What is this?"}, {"type": "image", "source": source}]
    message = client.messages.create(
        model=f"{provider}images", max_tokens=50, messages=[{"role": "user", "content": content}]
    )
    assert message.content[0].text == f"image/png 8 bytes {hashlib.sha256(PNG).hexdigest()[:12]}"


def test_thoughts_keep_their_signature(client, direct):
    for provider in ("",) if direct else ("anthropic-", "bedrock-"):
        asked = {"model": f"{provider}thinking", "max_tokens": 2000, "messages": QUESTION}
        asked["thinking"] = {"type": "enabled", "budget_tokens": 1024}
        with client.messages.stream(**asked) as stream:
            streamed = stream.get_final_message()
        for message in (streamed, client.messages.create(**asked)):
            thought, text = message.content
            assert (thought.type, thought.thinking) == ("thinking", "The handbook has it.")
            assert thought.signature == "c2lnbmVkIGJ5IHRoZSBtb2RlbA=="
            assert text.text == TEXT


@pytest.mark.parametrize(("model", "reason"), [("limited", "max_tokens"), ("stopped", None)])
def test_why_it_ended(client, provider, direct, model, reason):
    message = client.messages.create(
        model=f"{provider}{model}", max_tokens=7, messages=QUESTION, stop_sequences=["STOP"]
    )
    # OpenAI's wire does not tell a stop sequence from the end of an answer
    unknown = "end_turn" if not provider and not direct else "stop_sequence"
    assert message.stop_reason == (reason or unknown)


def test_tokens_are_counted(client, provider, direct):
    counted = client.messages.count_tokens(model=f"{provider}plain", messages=QUESTION, tools=[WEATHER])
    if direct or provider == "anthropic-":
        assert counted.input_tokens == 11
    assert counted.input_tokens > 0


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("rate-limited", anthropic.RateLimitError),
        ("broken", anthropic.InternalServerError),
        ("overloaded", anthropic.OverloadedError),
        ("strict", anthropic.BadRequestError),
    ],
)
def test_each_error_of_a_provider_is_the_sdks_own(client, provider, model, error):
    asked = {"model": f"{provider}{model}", "max_tokens": 50, "messages": QUESTION}
    for more in ({}, {"stream": True}):
        with pytest.raises(error) as raised:
            client.messages.create(**asked, **more)
        assert raised.value.body["type"] == "error"
        assert raised.value.request_id.startswith("req_")
        if model == "rate-limited":
            assert 1 <= int(raised.value.response.headers["retry-after"]) <= 17


def test_errors_of_the_gateway_are_the_sdks_own(client, direct):
    with pytest.raises(anthropic.AuthenticationError) as unknown:
        client.with_options(api_key="sk-nonsense").messages.create(model="plain", max_tokens=5, messages=QUESTION)
    assert unknown.value.body["error"]["type"] == "authentication_error"
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model="plain", max_tokens=5, messages=[])
    if not direct:
        with pytest.raises(anthropic.NotFoundError) as missing:
            client.messages.create(model="nope", max_tokens=5, messages=QUESTION)
        assert missing.value.body["error"]["type"] == "not_found_error"
        with pytest.raises(anthropic.InternalServerError) as late:
            client.messages.create(model="silent", max_tokens=5, messages=QUESTION)
        assert late.value.status_code == 504


def test_a_client_may_be_in_a_hurry(client, provider):
    hurried = client.with_options(timeout=0.2)
    with pytest.raises(anthropic.APITimeoutError):
        hurried.messages.create(model=f"{provider}silent", max_tokens=5, messages=QUESTION)


def test_an_error_within_a_stream_is_raised_not_swallowed(client, provider, direct):
    for model in ("midway",) if direct else ("midway", "cut", "severed"):
        words = []
        asked = {"model": f"{provider}{model}", "max_tokens": 50, "messages": QUESTION}
        with pytest.raises(anthropic.APIStatusError) as broken, client.messages.stream(**asked) as stream:
            for word in stream.text_stream:
                words.append(word)
        assert "".join(words) == "Fourteen days,"
        assert broken.value.body["type"] == "error"


def test_leaving_a_stream(client, provider):
    """The test that runs this looks whether the provider's connection was closed."""
    with client.messages.stream(model=f"{provider}slow", max_tokens=50, messages=QUESTION) as stream:
        assert next(iter(stream.text_stream)) == "Fourteen"
