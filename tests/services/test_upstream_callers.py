"""What callers of one provider share, its places, and what they choose: version and betas of Anthropic's API."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator

import httpx
import pytest

from slipway.base.callers import Caller, Scope
from slipway.base.errors import DeadlineExceeded
from slipway.runtime.outbound import Bounds, Deadlines, Outbound, client
from slipway.services.gateway.adapter_anthropic import AnthropicModel
from slipway.services.gateway.adapter_openai import OpenAIModel
from slipway.services.gateway.models import WrittenBody
from slipway.services.gateway.upstream import Upstream, bearer, named
from tests.services.gateway_serving import Served, credential, secret, served_app, served_gateway, usage_rows
from tests.services.provider_simulator import Simulator
from tests.services.simulator_anthropic import NEWER_VERSION, VERSION, AnthropicSimulator

PLACES = 6
MESSAGES = [{"role": "user", "content": "How many days?"}]
ASKED = {"max_tokens": 50, "messages": MESSAGES}


@pytest.fixture(scope="module")
def anthropic() -> AnthropicSimulator:
    return AnthropicSimulator()


@pytest.fixture(scope="module")
def served(anthropic, postgres, tmp_path_factory) -> Iterator[Served]:
    """A gateway whose providers take few calls at a time, and which waits for them."""
    home = tmp_path_factory.mktemp("gateway")
    deadlines = Deadlines(connect_s=2.0, first_byte_s=20.0, total_s=20.0)
    with pytest.MonkeyPatch.context() as patch, served_app(Simulator()) as upstream, served_app(anthropic) as url:
        patch.setattr(client, "Bounds", lambda: Bounds(connections=PLACES))
        with served_gateway(home, postgres, upstream, anthropic=url, deadlines=deadlines) as running:
            yield running


@pytest.fixture
def callers(new_caller) -> tuple[Caller, Caller]:
    return new_caller(Scope.MODELS_USE, Scope.USAGE_READ), new_caller(Scope.MODELS_USE)


def of(served: Served, caller: Caller, **headers: str) -> httpx.Client:
    """A client of a tenant."""
    return httpx.Client(
        base_url=served.url,
        headers={"authorization": f"Bearer {credential(caller, Scope.MODELS_USE)}", **headers},
        timeout=20,
    )


def test_a_tenant_that_fills_a_provider_leaves_room_for_another(served, callers):
    greedy, other = callers
    body = {"model": "stalls", "messages": MESSAGES, "stream": True}
    with of(served, greedy) as mine, of(served, other) as theirs, contextlib.ExitStack() as streams:
        for _ in range(PLACES // 2):
            stream = streams.enter_context(mine.stream("POST", "/v1/chat/completions", json=body))
            assert stream.status_code == 200
        for question in (body, {"model": "plain", "messages": MESSAGES}):
            refused = mine.post("/v1/chat/completions", json=question)
            assert refused.status_code == 429
            assert refused.json()["error"]["code"] == "rate_limit_exceeded"
            assert f"{PLACES // 2} of your calls" in refused.json()["error"]["message"]
            assert refused.headers["retry-after"] == "1"
        began_s = time.monotonic()
        served_at_once = theirs.post("/v1/chat/completions", json={"model": "plain", "messages": MESSAGES})
        assert (served_at_once.status_code, served_at_once.json()["model"]) == (200, "plain")
        assert time.monotonic() - began_s < 2
    rows = usage_rows(served, greedy, PLACES // 2 + 2)
    assert sorted(row["error_code"] or "" for row in rows) == [""] * (PLACES // 2) + ["limit_exceeded"] * 2
    with of(served, greedy) as mine:
        assert mine.post("/v1/chat/completions", json={"model": "plain", "messages": MESSAGES}).status_code == 200


@pytest.mark.parametrize("streams", [False, True])
def test_a_models_first_byte_holds_for_plain_answers_too(served, callers, streams):
    with of(served, callers[0]) as asking:
        began_s = time.monotonic()
        body = {"model": "hurried", "messages": MESSAGES, "stream": streams}
        assert asking.post("/v1/chat/completions", json=body).status_code == 504
        assert time.monotonic() - began_s < 5


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
@pytest.mark.parametrize("version", [VERSION, NEWER_VERSION, None])
def test_a_callers_version_and_betas_reach_a_provider_of_its_wire(served, anthropic, callers, path, version):
    headers = [("anthropic-beta", "a-2025-01-01,b-2025-01-01"), ("anthropic-beta", "c-2025-01-01")]
    if version is not None:
        headers.append(("anthropic-version", version))
    with of(served, callers[0]) as asking:
        body = ASKED if path == "/v1/messages" else {"messages": MESSAGES}
        answer = asking.post(path, json={"model": "anthropic-plain", **body}, headers=headers)
        assert answer.status_code == 200, answer.text
        seen = anthropic.seen.headers[-1]
        assert seen["anthropic-version"] == (version or VERSION)
        assert seen["anthropic-beta"] == "a-2025-01-01,b-2025-01-01,c-2025-01-01"
        assert asking.post(path, json={"model": "anthropic-plain", **body}).status_code == 200
        assert anthropic.seen.headers[-1]["anthropic-version"] == VERSION
        assert "anthropic-beta" not in anthropic.seen.headers[-1]


def test_the_version_decides_what_the_provider_takes(served, anthropic, callers):
    with of(served, callers[0], **{"anthropic-version": NEWER_VERSION}) as asking:
        warm = {"model": "anthropic-plain", **ASKED, "temperature": 0.5}
        refused = asking.post("/v1/messages", json=warm)
        assert refused.status_code == 400 and "temperature" in refused.json()["error"]["message"]
        assert asking.post("/v1/messages", json=warm, headers={"anthropic-version": VERSION}).status_code == 200
        stream = asking.post("/v1/messages", json={"model": "anthropic-plain", **ASKED, "stream": True})
        assert stream.text.rstrip().endswith('{"type":"message_stop"}')
        # Another wire has no versions, and its own translation of a temperature.
        assert asking.post("/v1/messages", json={**warm, "model": "plain"}).status_code == 200
        translated = {"model": "anthropic-plain", "messages": MESSAGES, "temperature": 0.5}
        assert asking.post("/v1/chat/completions", json=translated).status_code == 200
        assert anthropic.seen.headers[-1]["anthropic-version"] == VERSION


@pytest.mark.parametrize("model", ["plain", "anthropic-plain"])
@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([("anthropic-version", "2030-01-01")], "2023-06-01 or 2026-10-21"),
        ([("anthropic-version", "2023-01-01")], "2023-06-01 or 2026-10-21"),
        ([("anthropic-version", VERSION), ("anthropic-version", NEWER_VERSION)], "two versions"),
        ([("anthropic-beta", "a b")], "list of names"),
        ([("anthropic-beta", "a,,b")], "list of names"),
        ([("anthropic-beta", "a" * 3000)], "list of names"),
    ],
    ids=str,
)
def test_what_no_provider_would_be_asked_is_refused_by_name(served, callers, model, headers, said):
    with of(served, callers[0]) as asking:
        answer = asking.post("/v1/messages", json={"model": model, **ASKED}, headers=headers)
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert said in answer.json()["error"]["message"] and headers[0][0].split("-")[1] in answer.text


@pytest.mark.anyio
@pytest.mark.parametrize("adapter", [OpenAIModel, AnthropicModel])
async def test_a_further_attempt_has_no_longer_than_is_left(anthropic, callers, adapter):
    simulator, path = (Simulator(), "/v1") if adapter is OpenAIModel else (anthropic, "")
    with served_app(simulator) as url:
        credential_as = bearer if adapter is OpenAIModel else named(b"x-api-key")
        upstream = Upstream(Outbound(url + path), api_key_env="UPSTREAM_KEY", secret=secret, credential=credential_as)
        model = adapter(upstream, "silent", Deadlines())
        body = {"model": "silent", **ASKED}
        asked, streamed = (WrittenBody(each, json.dumps(each).encode()) for each in (body, {**body, "stream": True}))
        async with asyncio.timeout(3):
            with pytest.raises(DeadlineExceeded):
                await model.complete(callers[0], asked, (), 0.1)
            with pytest.raises(DeadlineExceeded):
                await anext(model.stream(callers[0], streamed, (), 0.1))
        await upstream.close()
