"""The gateway over real HTTP: what every client of OpenAI's wire may rely on, and a usage row for each request."""

import asyncio
import base64
import json
from collections.abc import Iterator
from contextlib import aclosing

import httpx
import numpy as np
import pytest

from slipway.base.callers import Scope
from slipway.base.errors import DeadlineExceeded
from slipway.runtime.outbound import Deadlines, Outbound
from slipway.services.gateway.adapter_openai import OpenAIModel
from slipway.services.gateway.models import WrittenBody
from slipway.services.gateway.upstream import Upstream
from tests.services.gateway_serving import Served, credential, secret, served_app, served_gateway, usage_rows
from tests.services.provider_simulator import KEY, Simulator

QUESTION = [{"role": "user", "content": "How many days do I have to return a laptop?"}]


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator()


@pytest.fixture(scope="module")
def served(simulator, postgres, tmp_path_factory) -> Iterator[Served]:
    with (
        served_app(simulator) as upstream,
        served_gateway(tmp_path_factory.mktemp("gateway"), postgres, upstream) as served,
    ):
        yield served


@pytest.fixture
def caller(new_caller):
    return new_caller(Scope.MODELS_USE, Scope.USAGE_READ)


@pytest.fixture
def client(served, caller) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {credential(caller)}"}
    with httpx.Client(base_url=served.url, headers=headers, timeout=20) as client:
        yield client


def ask(client: httpx.Client, **body) -> httpx.Response:
    return client.post("/v1/chat/completions", json={"messages": QUESTION, **body})


def events(client: httpx.Client, **body) -> list:
    """The data of each event; the last one is [DONE] unless the stream failed."""
    response = ask(client, stream=True, **body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = response.text.removesuffix("\n\n").split("\n\n")
    assert all(line.startswith("data: ") for line in lines)
    return [line if line == "data: [DONE]" else json.loads(line[6:]) for line in lines]


def test_a_plain_answer_is_the_providers_with_cost_and_our_name_of_the_model(client, served, caller):
    response = ask(client, model="plain", temperature=0.2, seed=7)
    body = response.json()
    assert response.status_code == 200
    assert body["choices"][0]["message"]["content"] == "Fourteen days, says the handbook."
    assert body["model"] == "plain"
    # 11 tokens at $2.50 and 7 at $10 a million: 27.5 micro-dollars and 70, each rounded up.
    assert body["usage"]["cost_usd_micros"] == 28 + 70
    assert body["usage"]["prompt_tokens_details"] == {"cached_tokens": 3}
    assert response.headers["x-slipway-cost-usd-micros"] == "98"
    [row] = usage_rows(served, caller, 1)
    assert row["request_id"] == response.headers["x-request-id"]
    assert (row["model"], row["provider"], row["status"], row["operation"]) == (
        "plain",
        "openai",
        "ok",
        "chat.completions",
    )
    assert (row["prompt_tokens"], row["completion_tokens"], row["cost_usd_micros"]) == (11, 7, 98)
    assert (row["subject"], row["actor"], row["tokens_estimated"]) == (caller.subject, "test", False)
    assert row["ttft_ms"] is None and row["error_code"] is None


def test_embeddings_in_both_encodings_are_the_same_vectors(client, served, caller):
    texts = ["a laptop can be returned", "the moon"]
    floats = client.post("/v1/embeddings", json={"model": "all-minilm-l6-v2", "input": texts}).json()
    packed = client.post(
        "/v1/embeddings", json={"model": "default", "input": texts, "encoding_format": "base64"}
    ).json()
    for plain, coded in zip(floats["data"], packed["data"], strict=True):
        vector = np.frombuffer(base64.b64decode(coded["embedding"]), "<f4")
        assert vector.shape == (384,)
        assert np.array_equal(vector, np.array(plain["embedding"], np.float32))
        assert abs(np.linalg.norm(vector) - 1) < 1e-5
    rows = usage_rows(served, caller, 2)
    assert [row["prompt_tokens"] for row in rows] == [floats["usage"]["prompt_tokens"]] * 2
    assert {row["requested_model"] for row in rows} == {"default", "all-minilm-l6-v2"}
    assert {row["cost_usd_micros"] for row in rows} == {0}


def test_a_stream_has_the_role_first_usage_last_and_no_chunk_of_usage_unasked(client, served, caller):
    *chunks, usage, done = events(client, model="plain", stream_options={"include_usage": True})
    assert done == "data: [DONE]"
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks).startswith("Fourteen days")
    assert all(chunk["usage"] is None and chunk["model"] == "plain" for chunk in chunks)
    assert usage["choices"] == [] and usage["usage"]["total_tokens"] == 18 and usage["usage"]["cost_usd_micros"] == 98
    assert usage["id"] == chunks[0]["id"]
    unasked = events(client, model="plain")
    assert unasked[-1] == "data: [DONE]" and not any("usage" in chunk for chunk in unasked[:-1])
    rows = usage_rows(served, caller, 2)
    assert [(row["completion_tokens"], row["cost_usd_micros"], row["status"]) for row in rows] == [(7, 98, "ok")] * 2
    assert all(0 <= row["ttft_ms"] <= row["latency_ms"] for row in rows)


def test_what_a_server_leaves_out_of_a_stream_is_put_right(client, served, caller):
    first = events(client, model="roleless")[0]
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "Fourteen"}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    chunks = events(client, model="unnumbered", tools=tools)[:-1]
    calls = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls") or []]
    assert [(call["index"], call["id"]) for call in calls] == [(0, "call_a"), (1, "call_b")]
    *_, usage, _ = events(client, model="uncounted", stream_options={"include_usage": True})
    assert usage["usage"]["completion_tokens"] == 9  # 33 characters, four a token
    rows = usage_rows(served, caller, 3)
    assert {row["requested_model"]: row["tokens_estimated"] for row in rows} == {
        "roleless": False,
        "unnumbered": False,
        "uncounted": True,
    }


def test_what_we_do_not_know_reaches_the_provider_and_the_platforms_key_with_it(client, simulator):
    extra = {"top_p": 0.3, "response_format": {"type": "json_object"}, "parallel_tool_calls": False, "x_new": [1, {}]}
    assert ask(client, model="plain", **extra).status_code == 200
    sent, headers = simulator.seen.requests[-1], simulator.seen.headers[-1]
    assert sent == {"messages": QUESTION, "model": "plain", **extra}
    assert headers["authorization"] == f"Bearer {KEY}"
    assert "x-api-key" not in headers and "cookie" not in headers


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("rate-limited", 429, "rate_limit_exceeded"),
        ("no-money", 429, "rate_limit_exceeded"),
        ("broken", 502, "upstream_failed"),
        ("overloaded", 503, "unavailable"),
        ("strict", 400, None),
        ("redirect", 502, "upstream_failed"),
        ("not-json", 502, "upstream_failed"),
        ("wrong-key", 502, "upstream_failed"),
        ("silent", 504, "deadline_exceeded"),
        ("keyless", 500, "misconfigured"),
        ("unreachable", 503, "unavailable"),
        ("titan", 503, "unavailable"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_providers_failure_keeps_its_class_and_leaves_one_row(client, served, caller, model, status, code, stream):
    response = ask(client, model=model, stream=stream)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    assert response.headers["x-request-id"].startswith("req_")
    assert KEY not in response.text and "UPSTREAM_KEY" not in response.text and "NO_SUCH_KEY" not in response.text
    if model == "rate-limited":
        assert response.headers["retry-after"] == "17"
    if model == "strict":
        assert error["message"] == "Unsupported value: 'temperature'."
    [row] = usage_rows(served, caller, 1)
    assert (row["status"], row["requested_model"]) == ("error", model)
    if model in ("not-json", "silent"):  # it was asked, and nobody counted: the most that it can have cost
        assert row["cost_basis"] == "bound" and row["tokens_estimated"]
        assert row["cost_usd_micros"] == row["reserved_usd_micros"] + row["uncertain_usd_micros"] > 0
    else:
        assert (row["prompt_tokens"], row["completion_tokens"], row["cost_usd_micros"]) == (0, 0, 0)
    assert row["error_code"] == {400: "invalid_request", 429: "limit_exceeded"}.get(status, code)


def test_attempts_are_bounded_and_follow_what_the_server_says(client, simulator):
    before = dict(simulator.seen.by_model)
    assert ask(client, model="recovers").status_code == 200
    assert ask(client, model="overloaded").status_code == 503
    assert ask(client, model="rate-limited").status_code == 429
    seen = {name: simulator.seen.by_model[name] - before.get(name, 0) for name in simulator.seen.by_model}
    assert (seen["recovers"], seen["overloaded"], seen["rate-limited"]) == (3, 3, 1)


def test_a_fallback_stands_in_before_the_first_byte_and_the_row_names_it(client, served, caller):
    for stream in (False, True):
        response = ask(client, model="fallen", stream=stream)
        assert response.status_code == 200 and '"model":"plain"' in response.text
    assert ask(client, model="claude").json()["model"] == "plain"
    rows = usage_rows(served, caller, 3)
    assert {(row["requested_model"], row["model"], row["status"]) for row in rows} == {
        ("fallen", "plain", "ok"),
        ("claude", "plain", "ok"),
    }
    assert len(rows) == 3


@pytest.mark.parametrize(("model", "code"), [("midway", "upstream_failed"), ("cut", "upstream_failed")])
def test_a_stream_that_breaks_says_so(client, served, caller, model, code):
    *chunks, last = events(client, model=model)
    assert len(chunks) == 4
    assert last["error"]["code"] == code and KEY not in last["error"]["message"]
    [row] = usage_rows(served, caller, 1)
    assert (row["status"], row["error_code"], row["tokens_estimated"]) == ("error", code, True)
    assert row["completion_tokens"] == 4  # "Fourteen days," in tokens of four characters
    assert row["cost_usd_micros"] > 0


def test_a_stream_that_stalls_ends_by_its_deadline(client, served, caller):
    last = events(client, model="stalls")[-1]
    assert last["error"]["code"] == "deadline_exceeded"
    [row] = usage_rows(served, caller, 1)
    assert (row["status"], row["error_code"]) == ("error", "deadline_exceeded")


def test_embeddings_of_a_provider_come_back_in_the_order_of_the_texts(client, served, caller):
    body = {"model": "vectors", "input": ["a", "bb", "ccc"]}
    data = client.post("/v1/embeddings", json=body).json()["data"]
    assert [(item["index"], item["embedding"][0]) for item in data] == [(0, 1.0), (1, 2.0), (2, 3.0)]
    packed = client.post("/v1/embeddings", json={**body, "encoding_format": "base64"}).json()["data"]
    assert [np.frombuffer(base64.b64decode(item["embedding"]), "<f4")[0] for item in packed] == [1.0, 2.0, 3.0]
    assert [row["cost_usd_micros"] for row in usage_rows(served, caller, 2)] == [38, 38]  # 15 tokens at $2.50


WRONG_CHATS = [
    (b"", None),
    (b"[]", None),
    (b'{"model":"plain","messages":[{"role":"user","content":NaN}]}', None),
    (b"[" * 200_000, None),
    (b"\xff\xfe", None),
    (b'{"messages":[{"role":"user","content":"x"}]}', "model"),
    (b'{"model":7,"messages":[{"role":"user","content":"x"}]}', "model"),
    (b'{"model":"plain"}', "messages"),
    (b'{"model":"plain","messages":[]}', "messages"),
    (b'{"model":"plain","messages":["x"]}', "messages.0"),
    (b'{"model":"plain","messages":[{"role":"user","content":5}]}', "messages.0.content"),
    (b'{"model":"plain","messages":[{"role":"user","content":"x"}],"stream":"yes"}', "stream"),
    (b'{"model":"plain","messages":[{"role":"user","content":"x"}],"stream_options":{}}', "stream_options"),
    (b'{"model":"plain","messages":[{"role":"user","content":"x"}],"n":0}', "n"),
    (b'{"model":"all-minilm-l6-v2","messages":[{"role":"user","content":"x"}]}', "model"),
    (b'{"model":"vectors","messages":[{"role":"user","content":"x"}]}', "model"),
]


@pytest.mark.parametrize(("content", "param"), WRONG_CHATS)
def test_a_wrong_chat_is_refused_by_its_parameter_and_leaves_no_row(client, served, caller, content, param):
    response = client.post("/v1/chat/completions", content=content)
    error = response.json()["error"]
    assert response.status_code == 400
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert ask(client, model="plain").status_code == 200
    assert len(usage_rows(served, caller, 1)) == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "x"}, "model"),
        ({"model": "default"}, "input"),
        ({"model": "default", "input": []}, "input"),
        ({"model": "default", "input": ""}, "input"),
        ({"model": "default", "input": ["x", ""]}, "input"),
        ({"model": "default", "input": [1, 2, 3]}, "input"),
        ({"model": "default", "input": [[1, 2], [3]]}, "input"),
        ({"model": "default", "input": ["x"] * 2049}, "input"),
        ({"model": "default", "input": "x", "encoding_format": "int8"}, "encoding_format"),
        ({"model": "default", "input": "x", "dimensions": 256}, "dimensions"),
        ({"model": "extractive", "input": "x"}, "model"),
    ],
)
def test_a_wrong_embedding_request_is_refused_by_its_parameter(client, body, param):
    response = client.post("/v1/embeddings", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    "option",
    [
        {"n": 2},
        {"response_format": {"type": "json_object"}},
        {"tool_choice": "required"},
        {"logprobs": True},
        {"modalities": ["audio"]},
    ],
)
def test_the_extractive_model_refuses_by_name_what_it_cannot_do(client, option):
    response = ask(client, model="extractive", **option)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == next(iter(option))


def test_the_default_model_quotes_and_names_itself(client, served, caller):
    body = ask(client, model="default").json()
    chunks = events(client, model="default")[:-1]
    assert body["model"] == "extractive"
    streamed = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert streamed == body["choices"][0]["message"]["content"] and streamed
    assert body["usage"]["cost_usd_micros"] == 0 and body["usage"]["prompt_tokens"] > 0
    assert {row["model"] for row in usage_rows(served, caller, 2)} == {"extractive"}


def test_refusals_stand_in_openais_envelope_on_every_openai_route(served, client, new_caller):
    stranger = credential(new_caller(Scope.USAGE_READ))
    routes = [
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/embeddings"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/plain"),
    ]
    for method, path in routes:
        for headers, status, code in [
            ({}, 401, "invalid_api_key"),
            ({"authorization": "Bearer nonsense"}, 401, "invalid_api_key"),
            ({"x-api-key": "nonsense"}, 401, "invalid_api_key"),
            ({"authorization": f"Bearer {stranger}"}, 403, "insufficient_permissions"),
        ]:
            response = httpx.request(method, served.url + path, headers=headers, content=b"{}")
            assert (response.status_code, response.json()["error"]["code"]) == (status, code), path
            assert response.headers["x-request-id"].startswith("req_")
            assert len(response.headers.get_list("x-request-id")) == 1
    for path, body in [
        ("/v1/chat/completions", {"messages": QUESTION, "model": "nope"}),
        ("/v1/embeddings", {"input": "x", "model": "nope"}),
    ]:
        response = client.post(path, json=body)
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    response = client.get("/v1/models/nope")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


def test_a_body_beyond_the_limit_is_refused(client):
    response = client.post("/v1/chat/completions", content=b" " * (10 * 2**20 + 1))
    assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")

    def endless():
        for _ in range(11):
            yield b" " * 2**20

    response = client.post("/v1/chat/completions", content=endless())
    assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")


def test_models_are_those_of_the_manifest(client):
    listed = client.get("/v1/models").json()
    names = {model["id"]: model["owned_by"] for model in listed["data"]}
    assert listed["object"] == "list"
    assert names["extractive"] == "extractive" and names["all-minilm-l6-v2"] == "minilm" and names["plain"] == "openai"
    assert client.get("/v1/models/plain").json() == {
        "id": "plain",
        "object": "model",
        "created": 0,
        "owned_by": "openai",
    }


@pytest.mark.anyio
async def test_a_deadline_that_passes_while_a_slow_client_is_written_to_is_an_error_not_a_cancellation(
    simulator, caller
):
    with served_app(simulator) as url:
        upstream = Upstream(Outbound(f"{url}/v1"), api_key_env="UPSTREAM_KEY", secret=secret)
        model = OpenAIModel(upstream, "slow", Deadlines(total_s=0.3))
        fields = {"model": "slow", "messages": QUESTION, "stream": True}
        body = WrittenBody(fields, json.dumps(fields).encode())
        async with aclosing(model.stream(caller, body, ())) as chunks:
            await anext(chunks)
            await asyncio.sleep(0.5)
            with pytest.raises(DeadlineExceeded):
                async for _ in chunks:
                    pass
        await upstream.close()


def test_one_connection_serves_many_calls(client, simulator):
    """A stream is read to its end, so that its connection is used again."""
    ask(client, model="plain").raise_for_status()
    before = len(simulator.seen.clients)
    for stream in (True, False) * 5:
        ask(client, model="plain", stream=stream).raise_for_status()
    assert len(simulator.seen.clients) == before


def test_a_model_whose_key_is_not_set_is_warned_of_at_the_start(tmp_path, postgres, provider, caplog):
    wiring = "slipway.services.gateway.wiring_models"
    with caplog.at_level("WARNING", wiring), served_gateway(tmp_path, postgres, provider[1]):
        pass
    warned = [record.getMessage() for record in caplog.records if "api_key_env" in record.getMessage()]
    assert warned == ["model keyless: the variable that its api_key_env names is not set, requests will fail"]
    assert "NO_SUCH_KEY" not in caplog.text, "a key may have been pasted there"
