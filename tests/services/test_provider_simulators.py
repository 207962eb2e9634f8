"""The simulated providers themselves: AWS's own SDK takes one for Bedrock, and each bills what it reports."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import boto3
import botocore.config
import httpx
import pytest
from botocore.exceptions import ClientError, EventStreamError

from tests.services.gateway_serving import served_app
from tests.services.provider_bill import Billing, Rates
from tests.services.provider_simulator import KEY, Simulator
from tests.services.simulator_anthropic import NEWER_VERSION, VERSION, AnthropicSimulator
from tests.services.simulator_bedrock import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, BedrockSimulator, frame

TEXT = "Fourteen days, says the handbook."
QUESTION = [{"role": "user", "content": [{"text": "How many days?"}]}]
TOOLS = {"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object"}}}}]}
PNG = bytes.fromhex("89504e470d0a1a0a")


@pytest.fixture(scope="module")
def bedrock() -> Iterator[tuple[BedrockSimulator, str]]:
    simulator = BedrockSimulator()
    with served_app(simulator) as url:
        yield simulator, url


@pytest.fixture(scope="module")
def anthropic() -> Iterator[tuple[AnthropicSimulator, httpx.Client]]:
    simulator = AnthropicSimulator()
    headers = {"x-api-key": KEY, "anthropic-version": VERSION}
    with served_app(simulator) as url, httpx.Client(base_url=url, headers=headers) as client:
        yield simulator, client


@pytest.fixture
def aws() -> Iterator[Callable[..., Any]]:
    """Makes clients of AWS's own SDK, and closes them after the test."""
    with ExitStack() as clients:

        def client(url: str, secret: str = SECRET_ACCESS_KEY, key: str = ACCESS_KEY_ID) -> Any:
            made = boto3.client(
                "bedrock-runtime",
                endpoint_url=url,
                region_name=REGION,
                aws_access_key_id=key,
                aws_secret_access_key=secret,
                config=botocore.config.Config(retries={"total_max_attempts": 1}),
            )
            return clients.enter_context(closing(made))

        yield client


def test_awss_own_sdk_converses(bedrock, aws):
    simulator, url = bedrock
    client = aws(url)
    answer = client.converse(modelId="anthropic.plain-v1:0", messages=QUESTION)
    assert answer["output"]["message"]["content"] == [{"text": TEXT}]
    assert answer["usage"] == {
        "inputTokens": 8,
        "outputTokens": 7,
        "totalTokens": 18,
        "cacheReadInputTokens": 3,
        "cacheWriteInputTokens": 0,
    }
    assert simulator.seen.paths[-1] == "/model/anthropic.plain-v1%3A0/converse"
    image = {"image": {"format": "png", "source": {"bytes": PNG}}}
    seen = client.converse(modelId="images", messages=[{"role": "user", "content": [image]}])
    assert seen["output"]["message"]["content"][0]["text"].startswith("image/png 8 bytes ")


def test_awss_own_sdk_reads_the_frames(bedrock, aws):
    client = aws(bedrock[1])
    events = [*client.converse_stream(modelId="plain", messages=QUESTION)["stream"]]
    assert [next(iter(each)) for each in events] == [
        *("messageStart", *["contentBlockDelta"] * 7, "contentBlockStop", "messageStop", "metadata"),
    ]
    assert "".join(e["contentBlockDelta"]["delta"]["text"] for e in events if "contentBlockDelta" in e) == TEXT
    calls = [*client.converse_stream(modelId="plain", messages=QUESTION, toolConfig=TOOLS)["stream"]]
    assert [e["contentBlockStart"]["start"]["toolUse"]["toolUseId"] for e in calls if "contentBlockStart" in e] == [
        "call_a",
        "call_b",
    ]
    broken = client.converse_stream(modelId="midway", messages=QUESTION)["stream"]
    with closing(broken), pytest.raises(EventStreamError, match="modelStreamErrorException"):
        list(broken)


@pytest.mark.parametrize(
    ("model", "kind", "status"),
    [
        ("rate-limited", "ThrottlingException", 429),
        ("broken", "InternalServerException", 500),
        ("overloaded", "ServiceUnavailableException", 503),
        ("strict", "ValidationException", 400),
    ],
)
def test_errors_are_awss(bedrock, aws, model, kind, status):
    with pytest.raises(ClientError) as refused:
        aws(bedrock[1]).converse(modelId=model, messages=QUESTION)
    assert refused.value.response["Error"]["Code"] == kind
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_only_the_right_secret_signs(bedrock, aws):
    simulator, url = bedrock
    billed = len(simulator.bill.lines)
    for client, kind in (
        (aws(url, secret="another"), "InvalidSignatureException"),
        (aws(url, key="AKIAOTHER"), "UnrecognizedClientException"),
    ):
        with pytest.raises(ClientError) as refused:
            client.converse(modelId="plain", messages=QUESTION)
        assert refused.value.response["Error"]["Code"] == kind
    assert httpx.post(f"{url}/model/plain/converse", json={"messages": []}).status_code == 403
    assert len(simulator.bill.lines) == billed


def test_a_frames_checksums_are_checked_by_botocore():
    from botocore.eventstream import ChecksumMismatch, EventStreamBuffer

    content = frame({":event-type": "x"}, b"{}")
    whole = EventStreamBuffer()
    whole.add_data(content)
    assert next(whole).payload == b"{}"
    broken = EventStreamBuffer()
    broken.add_data(content[:-6] + b"~" + content[-5:])
    with pytest.raises(ChecksumMismatch):
        next(broken)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"n": 2}, "n: Extra inputs are not permitted"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages.0: Input should be"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, "must be non-empty"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "is not allowed here"),
        ({"messages": [{"role": "assistant", "content": [{"type": "tool_use"}]}]}, "id: Field required"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": "y"}]}]},
            "must have a `tool_result` block",
        ),
        ({"tools": [{"name": "x", "parameters": {}}]}, "input_schema.type: Field required"),
    ],
    ids=str,
)
def test_anthropic_refuses_what_is_not_its_wire(anthropic, change, said):
    body = {"model": "plain", "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}], **change}
    answer = anthropic[1].post("/v1/messages", json={key: value for key, value in body.items() if value is not None})
    assert answer.status_code == 400
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert said in answer.json()["error"]["message"]
    assert answer.headers["request-id"] == answer.json()["request_id"]


def test_anthropic_wants_its_headers(anthropic):
    body = {"model": "plain", "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]}
    client = anthropic[1]
    assert client.post("/v1/messages", json=body, headers={"x-api-key": "other"}).status_code == 401
    assert client.post("/v1/messages", json=body, headers={"anthropic-version": "1"}).status_code == 400
    url = f"{str(client.base_url).rstrip('/')}/v1/messages"
    bearer = {"authorization": f"Bearer {KEY}", "anthropic-version": NEWER_VERSION}
    assert httpx.post(url, json=body, headers=bearer).status_code == 200
    refused = httpx.post(url, json={**body, "temperature": 1}, headers=bearer)
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
    assert client.post("/v1/messages", json={**body, "temperature": 1}).status_code == 200


def test_anthropic_streams_as_documented(anthropic):
    body = {"model": "tools", "max_tokens": 5, "stream": True, "messages": [{"role": "user", "content": "Weather?"}]}
    body["tools"] = [{"name": "weather", "input_schema": {"type": "object"}}]
    text = anthropic[1].post("/v1/messages", json=body).text
    events = [block.split("\n") for block in text.rstrip("\n").split("\n\n")]
    kinds = [lines[0].removeprefix("event: ") for lines in events]
    pieces = -(-len('{"city":"Bern"}') // 5) + 1
    assert kinds == [
        *("message_start", "content_block_start", "ping", *["content_block_delta"] * pieces, "content_block_stop"),
        *("message_delta", "message_stop"),
    ]
    for kind, lines in zip(kinds, events, strict=True):
        assert json.loads(lines[1].removeprefix("data: "))["type"] == kind


def test_what_is_billed_is_what_is_reported():
    billing = Billing(prompt_tokens=None, completion_tokens="asked", over_report=True, cache_write=True)
    billing.rates["plain"] = Rates(prompt=1_000_000, completion=2_000_000, cache_write=1_250_000)
    simulator = Simulator(billing)
    body: dict[str, Any] = {"model": "plain", "messages": [{"role": "user", "content": "x" * 41}], "max_tokens": 9}
    with (
        served_app(simulator) as url,
        httpx.Client(base_url=url, headers={"authorization": f"Bearer {KEY}"}) as client,
    ):
        usage = client.post("/v1/chat/completions", json=body).json()["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (14, 9)  # 11 and a fifth, rounded up
        assert usage["prompt_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 14}
        assert simulator.bill.usd_micros() == 36  # 14 at 1.25 and 9 at 2, rounded up
        assert simulator.bill.tokens() == 23
        del body["max_tokens"]
        assert client.post("/v1/chat/completions", json=body).json()["usage"]["completion_tokens"] == 100
        client.post("/v1/chat/completions", json={**body, "model": "cut", "stream": True})
        client.post("/v1/chat/completions", json={**body, "model": "broken"})
    assert simulator.bill.requests == {"plain": 2, "cut": 1}
    assert [line.complete for line in simulator.bill.lines] == [True, True, False]


def test_what_a_cache_had_to_do_with_is_apart_on_anthropics_wire():
    simulator = AnthropicSimulator(Billing(prompt_tokens=20, cache_read=5))
    body = {"model": "plain", "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"x-api-key": KEY, "anthropic-version": VERSION}
    with served_app(simulator) as url, httpx.Client(base_url=url, headers=headers) as client:
        usage = client.post("/v1/messages", json=body).json()["usage"]
        assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (15, 5, 7)
        del body["max_tokens"]
        assert client.post("/v1/messages/count_tokens", json=body).json() == {"input_tokens": 20}
    assert simulator.bill.tokens() == 27
