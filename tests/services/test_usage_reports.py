"""Reports on usage: groups, CSV and filters, each tenant its own, all of them for who administers tenants."""

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import FastAPI

from slipway.base.callers import ADMIN_SCOPES, Scope
from slipway.base.ids import new_id
from slipway.runtime.database import Database
from slipway.runtime.http import problems
from slipway.services.gateway.adapter_postgres import PostgresUsage
from slipway.services.gateway.models import Price, Tokens, UsageRow
from slipway.services.gateway.routes import routes
from slipway.services.gateway.usage_records import row_json

pytestmark = pytest.mark.anyio
DAY = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
PRICE = Price(3_000_000, 15_000_000, 300_000, 3_750_000, 6_000_000, "2026-03-01")


def row(caller, at, model="plain", **changes) -> UsageRow:
    tokens = Tokens(100, 10, cache_read=20, cache_write=5, cache_write_1h=2)
    values = {
        "request_id": new_id("req"),
        "caller": caller,
        "at": at,
        "operation": "messages",
        "requested_model": model,
        "model": model,
        "provider": "anthropic",
        "tokens": tokens,
        "cost_usd_micros": PRICE.cost_usd_micros(tokens),
        "latency_ms": 12,
        "ttft_ms": 3,
        "status": "ok",
        "error_code": None,
        "price_version": PRICE.version,
        "price": PRICE.text(tokens),
    }
    return UsageRow(**(values | changes))


@pytest.fixture
async def ask(database: Database) -> AsyncIterator:
    """Asks `GET /v1/usage` as a caller."""
    callers: dict = {}

    class Known:
        async def authenticate(self, credential):
            return callers[credential]

    app = FastAPI()
    problems.install(app)
    app.include_router(routes(PostgresUsage(database)).router)
    app.state.authenticator = Known()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:

        async def asked(caller, headers=None, **query) -> httpx.Response:
            callers["me"] = caller
            return await client.get(
                "/v1/usage", params=query, headers={"authorization": "Bearer me", **(headers or {})}
            )

        yield asked


async def kept(database: Database, *rows: UsageRow) -> None:
    await PostgresUsage(database).usage_append([row_json(each) for each in rows])


def table(response: httpx.Response) -> list[dict[str, str]]:
    assert response.status_code == 200 and response.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(response.text)))


async def test_groups_of_any_kind_add_up_to_the_totals(ask, database, new_caller):
    caller = new_caller()
    other_key = replace(caller, key_id="key_b")
    await kept(
        database,
        row(caller, DAY),
        row(caller, DAY + timedelta(hours=1)),
        row(other_key, DAY, model="large"),
        row(other_key, DAY, model="large", status="error", error_code="upstream_failed"),
        row(new_caller(), DAY),
    )
    whole = (await ask(caller)).json()
    assert whole["totals"]["requests"] == 4 and whole["groups"] is None
    for by, count in (("model", 2), ("day", 2), ("key", 2), ("day,model", 3), ("key, day,model", 3), ("tenant", 1)):
        if by == "tenant":
            caller = replace(caller, scopes=caller.scopes - ADMIN_SCOPES)
        report = (await ask(caller, group_by=by)).json()
        assert report["items"] == [] and len(report["groups"]) == count, by
        assert report["totals"] == whole["totals"]
        for name, total in whole["totals"].items():
            assert sum(group[name] for group in report["groups"]) == total
    report = (await ask(caller, group_by="day,model")).json()
    assert [(group["day"], group["model"], group["requests"]) for group in report["groups"]] == [
        ("2026-03-01", "large", 2),
        ("2026-03-01", "plain", 1),
        ("2026-03-02", "plain", 1),
    ]
    assert report["groups"][0]["cache_read_tokens"] == 40 and report["groups"][0]["cache_write_tokens"] == 14
    later = (await ask(caller, group_by="model", after="2026-03-02T00:00:00Z")).json()
    assert [(group["model"], group["requests"]) for group in later["groups"]] == [("plain", 1)]
    failed = (await ask(caller, group_by="model", status="error")).json()
    assert [(group["model"], group["requests"]) for group in failed["groups"]] == [("large", 1)]
    assert [item["status"] for item in (await ask(caller, status="error")).json()["items"]] == ["error"]


async def test_all_tenants_are_seen_only_by_who_administers_tenants(ask, database, new_caller):
    caller, other = new_caller(Scope.USAGE_READ), new_caller(Scope.USAGE_READ, Scope.TENANTS_ADMIN)
    at = DAY - timedelta(days=300)
    await kept(database, row(caller, at), row(other, at), row(other, at))
    between = {"after": at.isoformat(), "before": (at + timedelta(minutes=1)).isoformat()}
    own = (await ask(caller, group_by="tenant,model", **between)).json()
    assert [(group["tenant_id"], group["requests"]) for group in own["groups"]] == [(caller.tenant_id, 1)]
    assert own["totals"]["requests"] == 1
    every = (await ask(other, group_by="tenant", **between)).json()
    assert {group["tenant_id"]: group["requests"] for group in every["groups"]} == {
        caller.tenant_id: 1,
        other.tenant_id: 2,
    }
    assert every["totals"]["requests"] == 3
    # Anything but sums by tenant is the administrator's own tenant.
    assert (await ask(other, group_by="model", **between)).json()["totals"]["requests"] == 2
    assert len((await ask(other, **between)).json()["items"]) == 2
    assert len(table(await ask(other, format="csv", **between))) == 2
    assert (await ask(new_caller(Scope.MODELS_USE), group_by="tenant")).status_code == 403


async def test_csv_has_every_row_of_all_pages(ask, database, new_caller):
    caller = new_caller()
    await kept(database, *(row(caller, DAY + timedelta(seconds=index)) for index in range(2100)))
    lines = table(await ask(caller, format="csv"))
    assert len(lines) == len({line["request_id"] for line in lines}) == 2100
    assert [line["at"] for line in lines] == sorted((line["at"] for line in lines), reverse=True)
    assert lines[0]["price"] == "3000000/15000000/300000/3750000/6000000" and lines[0]["error_code"] == ""
    assert table(await ask(caller, {"accept": "text/csv"})) == lines
    assert (await ask(caller, {"accept": "text/csv"}, format="json")).json()["totals"]["requests"] == 2100
    groups = table(await ask(caller, {"accept": "text/csv; charset=utf-8"}, group_by="model,day"))
    assert [(line["day"], line["model"], line["requests"]) for line in groups] == [
        ("2026-03-01", "plain", "1800"),
        ("2026-03-02", "plain", "300"),
    ]


async def test_csv_holds_no_formula(ask, database, new_caller):
    caller = new_caller()
    runs = ['=cmd|"/c calc"!A1', "+1", "-1", "@sum", "\tx", "\rx", "\n=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x"]
    names = [*runs, 'plain, quoted "x"\nline', "a=1", " =1"]
    await kept(database, *(row(caller, DAY, requested_model=name) for name in names))
    cells = {line["requested_model"] for line in table(await ask(caller, format="csv"))}
    assert cells == {f"'{name}" for name in runs} | set(names[len(runs) :])
    keys = [replace(caller, key_id=name) for name in runs]
    await kept(database, *(row(key, DAY, model=name) for key, name in zip(keys, runs, strict=True)))
    groups = table(await ask(caller, format="csv", group_by="key,model"))
    told = {(line["key_id"], line["model"]) for line in groups if line["key_id"]}
    assert told == {(f"'{name}", f"'{name}") for name in runs}


async def test_what_cannot_be_asked_is_refused(ask, new_caller):
    caller = new_caller()
    for query in (
        {"group_by": "color"},
        {"group_by": ""},
        {"group_by": "model,"},
        {"format": "xml"},
        {"status": "fine"},
        {"format": "csv", "cursor": "nonsense"},
        {"after": "yesterday"},
        {"after": "2026-11-01T00:00:00"},
        {"after": "2026-11-02T00:00:00Z", "before": "2026-11-01T00:00:00Z"},
        {"after": "2026-11-01T00:00:00Z", "before": "2026-11-01T00:00:00Z", "format": "csv"},
    ):
        response = await ask(caller, **query)
        assert response.status_code == 400, query
        assert response.headers["content-type"] == "application/problem+json"


async def test_the_cost_is_found_again_from_the_row(ask, database, new_caller):
    caller = new_caller()
    await kept(database, row(caller, DAY))
    [item] = (await ask(caller)).json()["items"]
    hour = item["cache_write_1h_tokens"]
    tokens = Tokens(
        item["prompt_tokens"],
        item["completion_tokens"],
        item["cache_read_tokens"],
        item["cache_write_tokens"] - hour,
        hour,
    )
    price = Price.from_text(item["price"])
    assert price.cost_usd_micros(tokens) == item["cost_usd_micros"] == PRICE.cost_usd_micros(tokens)


async def test_only_the_row_of_a_lost_lease_can_be_removed(database, new_caller):
    caller = new_caller()
    store, first, lost = PostgresUsage(database), row(caller, DAY), row(caller, DAY, status="lost")
    await kept(database, first, lost)
    await store.lost_remove([first.request_id, lost.request_id])
    async with database.platform_transaction() as connection:
        await connection.execute("DELETE FROM usage_row WHERE id = %s", [first.request_id])
    report = await store.usage_list(caller, after=None, before=None, model=None, key_id=None, cursor=None, limit=9)
    assert [item.request_id for item in report.items] == [first.request_id]


async def test_a_row_changes_only_from_uncertain_to_reconciled(database, new_caller):
    caller = new_caller()
    settled, unknown = row(caller, DAY), row(caller, DAY, status="unknown")
    await kept(database, settled, unknown)
    changed = "UPDATE usage_row SET cost_usd_micros = 0, status = 'reconciled' WHERE id = %s"
    async with database.platform_transaction() as connection:
        assert (await connection.execute(changed, [settled.request_id])).rowcount == 0
    with pytest.raises(Exception, match="row-level security"):
        async with database.platform_transaction() as connection:
            await connection.execute("UPDATE usage_row SET cost_usd_micros = 0 WHERE id = %s", [unknown.request_id])
    for forbidden in ("subject = 'x'", "tenant_id = 'x'", "at = now()", "reserved_usd_micros = 0"):
        with pytest.raises(Exception, match="permission denied"):
            async with database.platform_transaction() as connection:
                await connection.execute(f"UPDATE usage_row SET {forbidden}")
    with pytest.raises(Exception, match="permission denied"):
        async with database.transaction(caller) as connection:
            await connection.execute("UPDATE usage_row SET status = 'reconciled'")
    for twice, count in ((1, 1), (2, 0)):
        async with database.platform_transaction() as connection:
            assert (await connection.execute(changed, [unknown.request_id])).rowcount == count, twice
