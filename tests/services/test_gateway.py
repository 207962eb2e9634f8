"""The gateway over real HTTP: what every client of OpenAI's wire may rely on, and a usage row for each request."""

import base64
import json
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from slipway.base.callers import Scope
from tests.services.gateway_serving import Served, credential, served_app, served_gateway, usage_rows
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
