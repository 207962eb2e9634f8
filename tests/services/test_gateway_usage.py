"""Usage rows: one each, each tenant its own, none lost when clients hang up, the database is away or the part stops."""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from slipway.base.callers import Scope
from slipway.base.ids import new_id
from slipway.runtime.database import Database
from slipway.services.gateway.adapter_postgres import PostgresUsage
from slipway.services.gateway.models import Tokens, UsageRow
from slipway.services.gateway.usage_delivery import append_all
from slipway.services.gateway.usage_records import row_json
from tests.services.gateway_serving import Served, credential, served_app, served_gateway, usage_rows
from tests.services.provider_simulator import Simulator

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


def row(caller, **changes) -> UsageRow:
    values = {
        "request_id": new_id("req"),
        "caller": caller,
        "at": datetime.now(UTC),
        "operation": "chat.completions",
        "requested_model": "default",
        "model": "plain",
        "provider": "openai",
        "tokens": Tokens(11, 7),
        "cost_usd_micros": 98,
        "latency_ms": 12,
        "ttft_ms": None,
        "status": "ok",
        "error_code": None,
    }
    return UsageRow(**(values | changes))


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_hangs_up_cancels_the_provider_and_leaves_one_row(served, simulator, new_caller, stream):
    caller = new_caller(Scope.MODELS_USE, Scope.USAGE_READ)
    model = "slow" if stream else "silent"
    before = simulator.seen.hung_up[model]
    body = {"model": model, "messages": QUESTION, "stream": stream}
    headers = {"authorization": f"Bearer {credential(caller)}"}
    async with httpx.AsyncClient(base_url=served.url, headers=headers) as client:
        if stream:
            async with client.stream("POST", "/v1/chat/completions", json=body) as response:
                events = response.aiter_lines()
                while "days" not in await anext(events):
                    pass
        else:
            with contextlib.suppress(httpx.ReadTimeout):
                await client.post("/v1/chat/completions", json=body, timeout=0.2)
    hung_up_s = time.monotonic()
    while simulator.seen.hung_up[model] == before:
        assert time.monotonic() - hung_up_s < 5, "the provider's connection stayed open"
        await asyncio.sleep(0.002)
    assert simulator.seen.hung_up_at_s[model] - hung_up_s < 0.1
    [left] = await asyncio.to_thread(usage_rows, served, caller, 1)
    assert (left["status"], left["error_code"], left["tokens_estimated"]) == ("cancelled", None, True)
    assert left["completion_tokens"] == (4 if stream else 0)  # "Fourteen days" in tokens of four characters


@pytest.mark.anyio
async def test_mixed_requests_leave_exactly_one_row_each(served, new_caller):
    caller = new_caller(Scope.MODELS_USE, Scope.USAGE_READ)
    headers = {"authorization": f"Bearer {credential(caller)}"}
    chance = random.Random(7)
    accepted: set[str] = set()
    hung_up = 0

    async def one(client: httpx.AsyncClient, index: int) -> None:
        nonlocal hung_up
        kind = index % 5
        if kind == 0:
            body = {"model": "all-minilm-l6-v2" if index % 50 == 0 else "vectors", "input": "x"}
            accepted.add((await client.post("/v1/embeddings", json=body)).headers["x-request-id"])
            return
        model = ("plain", "plain", "overloaded", "midway")[kind - 1] if kind < 4 or index % 2 else "slow"
        hangs_up = model == "slow" and chance.random() < 0.8
        if hangs_up:
            model = "stalls"  # the answer cannot be whole before its client is gone, however busy this machine is
        body = {"model": model, "messages": QUESTION, "stream": kind != 1}
        async with client.stream("POST", "/v1/chat/completions", json=body) as response:
            accepted.add(response.headers["x-request-id"])
            if hangs_up:
                await anext(response.aiter_bytes())
                hung_up += 1
            else:
                await response.aread()
        refused = await client.post("/v1/chat/completions", json={"model": "nope", "messages": QUESTION})
        assert refused.status_code == 404

    limit = asyncio.Semaphore(25)

    async def limited(client: httpx.AsyncClient, index: int) -> None:
        async with limit:
            await one(client, index)

    async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=30) as client:
        await asyncio.gather(*(limited(client, index) for index in range(500)))
    rows = await asyncio.to_thread(usage_rows, served, caller, 500)
    assert len(rows) == len(accepted) == 500
    assert {item["request_id"] for item in rows} == accepted
    by_status = {status: sum(item["status"] == status for item in rows) for status in ("ok", "error", "cancelled")}
    assert by_status["cancelled"] == hung_up > 0
    assert by_status["error"] == 100 + 50
    assert by_status["ok"] == 500 - by_status["error"] - hung_up


def test_usage_is_listed_newest_first_in_pages_with_totals_of_all(served, new_caller):
    caller = new_caller(Scope.MODELS_USE, Scope.USAGE_READ)
    headers = {"authorization": f"Bearer {credential(caller)}"}
    with httpx.Client(base_url=served.url, headers=headers) as client:
        for index in range(5):
            model = "plain" if index else "uncounted"
            client.post("/v1/chat/completions", json={"model": model, "messages": QUESTION}).raise_for_status()
        everything = usage_rows(served, caller, 5)
        pages, cursor = [], None
        while True:
            query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
            page = client.get("/v1/usage", params=query).json()
            assert page["totals"]["requests"] == 5
            assert page["totals"]["cost_usd_micros"] == sum(item["cost_usd_micros"] for item in everything)
            pages += page["items"]
            cursor = page["next"]
            if cursor is None:
                break
        assert pages == everything
        assert [item["at"] for item in pages] == sorted((item["at"] for item in pages), reverse=True)
        since = client.get("/v1/usage", params={"after": everything[2]["at"]}).json()
        assert since["items"] == everything[:3] and since["totals"]["requests"] == 3
        earlier = client.get("/v1/usage", params={"before": everything[2]["at"]}).json()
        assert earlier["items"] == everything[3:]
        one = client.get("/v1/usage", params={"model": "uncounted"}).json()
        assert [item["model"] for item in one["items"]] == ["uncounted"] and one["totals"]["requests"] == 1
        assert client.get("/v1/usage", params={"key_id": "key_other"}).json()["totals"]["requests"] == 0
        for query in ({"cursor": "nonsense"}, {"cursor": "é"}, {"limit": 0}, {"after": "yesterday"}, {"model": "\0"}):
            response = client.get("/v1/usage", params=query)
            assert response.status_code == 400, query
            assert response.headers["content-type"] == "application/problem+json"


def test_usage_is_the_tenants_own_and_needs_its_scope(served, new_caller):
    caller, other = new_caller(), new_caller()
    body = {"model": "plain", "messages": QUESTION}
    headers = {"authorization": f"Bearer {credential(caller)}"}
    httpx.post(f"{served.url}/v1/chat/completions", json=body, headers=headers).raise_for_status()
    assert len(usage_rows(served, caller, 1)) == 1
    assert usage_rows(served, other, 0) == []
    headers = {"authorization": f"Bearer {credential(caller, Scope.MODELS_USE)}"}
    assert httpx.get(f"{served.url}/v1/usage", headers=headers).status_code == 403
    assert httpx.get(f"{served.url}/v1/usage").status_code == 401


@pytest.mark.anyio
async def test_a_row_written_twice_is_kept_once(database: Database, new_caller):
    caller = new_caller()
    store, first = PostgresUsage(database), row(caller)
    await store.usage_append([row_json(first), row_json(row(caller))])
    await store.usage_append([row_json(first), row_json(row(new_caller()))])
    report = await store.usage_list(caller, after=None, before=None, model=None, key_id=None, cursor=None, limit=10)
    assert report.totals.requests == 2


@pytest.mark.anyio
async def test_a_row_that_the_table_refuses_is_kept_as_far_as_it_takes_it(database: Database, new_caller):
    caller = new_caller()
    store, odd = PostgresUsage(database), json.loads(row_json(row(caller)))
    odd |= {
        "requested_model": "a\0b\ud800",
        "provider_request_id": "\0" * 9,
        "reserved_usd_micros": 2**63,
        "latency_ms": 2**40,
    }
    others = [row_json(row(caller)) for _ in range(3)]
    await append_all(store, [others[0], json.dumps(odd).encode(), *others[1:]])
    listed = await store.usage_list(caller, after=None, before=None, model=None, key_id=None, cursor=None, limit=10)
    assert listed.totals.requests == 4
    kept = next(item for item in listed.items if item.request_id == odd["id"])
    assert (kept.requested_model, kept.reserved_usd_micros, kept.latency_ms) == ("ab?", 2**53 - 1, 2**31 - 1)


@pytest.mark.anyio
async def test_usage_rows_cannot_be_changed_or_removed(database: Database, new_caller):
    caller = new_caller()
    await PostgresUsage(database).usage_append([row_json(row(caller))])
    for statement in ("DELETE FROM usage_row", "UPDATE usage_row SET cost_usd_micros = 0"):
        with pytest.raises(Exception, match="permission denied"):
            async with database.transaction(caller) as connection:
                await connection.execute(statement)


def test_a_stop_writes_what_waits(postgres, tmp_path, simulator, new_caller):
    caller = new_caller(Scope.MODELS_USE, Scope.USAGE_READ)
    headers = {"authorization": f"Bearer {credential(caller)}"}
    started = datetime.now(UTC) - timedelta(seconds=1)
    with served_app(simulator) as upstream:
        with (
            served_gateway(tmp_path, postgres, upstream) as served,
            httpx.Client(base_url=served.url, headers=headers) as client,
        ):
            for _ in range(20):
                body = {"model": "plain", "messages": QUESTION}
                client.post("/v1/chat/completions", json=body).raise_for_status()
        with served_gateway(tmp_path, postgres, upstream) as served:
            assert len(usage_rows(served, caller, 20, after=started.isoformat())) == 20
