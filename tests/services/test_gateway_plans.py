"""Plans in a real database and over HTTP: whose they are, who may assign them, and that every process sees a change."""

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import psycopg
import pytest

from slipway.api.plans import BudgetStanding
from slipway.app.assembly import assemble
from slipway.app.probes import Readiness
from slipway.base.callers import ADMIN_SCOPES, Caller, Scope
from slipway.base.clock import SystemClock
from slipway.base.errors import Unauthenticated
from slipway.base.ids import new_id
from slipway.manifest.sections.plans import Plan
from slipway.manifest.units import Count
from slipway.runtime.database import Database
from slipway.runtime.part import Part
from slipway.runtime.postgres import EmbeddedAddresses
from slipway.services.gateway.adapter_postgres_plans import PostgresPlans
from slipway.services.gateway.plan_book import UNLIMITED, PlanBook, PlanLimits, Plans
from slipway.services.gateway.routes_plans import plan_routes

MANIFEST = {"free": Plan(requests_per_second=5, tokens_per_month=Count(1_000)), "paid": Plan(burst=9)}
FREE, PAID = PlanLimits("free", 5, tokens_per_month=1_000), PlanLimits("paid", burst=9)


def key_of(postgres: EmbeddedAddresses, caller: Caller) -> str:
    """A row of an API key, whose secret nobody knows."""
    key_id = new_id("key")
    with psycopg.connect(postgres.app_url) as connection:
        connection.execute("SELECT set_config('slipway.tenant', %s, true)", (caller.tenant_id,))
        connection.execute(
            "INSERT INTO api_key (tenant_id, id, name, prefix, hash, role, scopes, created_by)"
            " VALUES (%s, %s, 'a key', %s, decode(repeat('00', 32), 'hex'), 'service', '{}', 'test')",
            (caller.tenant_id, key_id, key_id),
        )
    return key_id


@pytest.fixture
def book(database: Database) -> PlanBook:
    return PlanBook(PostgresPlans(database), MANIFEST)


@pytest.mark.anyio
async def test_a_change_holds_in_another_process_within_two_seconds(
    database: Database, book: PlanBook, new_caller
) -> None:
    caller, other = new_caller(), PlanBook(PostgresPlans(database), MANIFEST)
    await other.load(caller)
    polling = asyncio.create_task(other.run())
    try:
        for plan, expected in (("free", Plans(FREE)), ("paid", Plans(PAID)), (None, Plans(UNLIMITED))):
            await book.assign_tenant(caller, caller.tenant_id, plan)
            since_s = time.monotonic()
            async with asyncio.timeout(10):
                while other.plans_of(caller) != expected:
                    await asyncio.sleep(0.01)
            assert time.monotonic() - since_s < 2
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)


@pytest.mark.anyio
async def test_a_tenant_sees_its_own_assignments_only(
    database: Database, book: PlanBook, postgres: EmbeddedAddresses, new_caller
) -> None:
    mine, theirs = new_caller(), new_caller()
    key_id = key_of(postgres, mine)
    await book.assign_tenant(mine, mine.tenant_id, "free")
    await book.assign_key(mine, key_id, "paid")
    assert [(row.subject, row.plan) for row in await book.assignment_list(mine)] == [
        ("tenant", "free"),
        (key_id, "paid"),
    ]
    assert await book.assignment_list(theirs) == []
    assert await PostgresPlans(database).assign_key(theirs, key_id, "free") is None
    await book.load(mine)
    holder = Caller(mine.tenant_id, key_id, frozenset(), key_id=key_id)
    assert book.plans_of(holder) == Plans(FREE, PAID)


@pytest.mark.anyio
async def test_what_is_on_a_plan_takes_its_assignment_with_it(
    database: Database, book: PlanBook, postgres: EmbeddedAddresses, new_caller
) -> None:
    caller = new_caller()
    key_id = key_of(postgres, caller)
    await book.assign_tenant(caller, caller.tenant_id, "free")
    await book.assign_key(caller, key_id, "paid")
    with psycopg.connect(postgres.owner_url) as connection:
        for table in ("tenant", "api_key", "plan_assignment"):  # undone with the transaction
            connection.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        for deletion, named, left in (
            ("DELETE FROM api_key WHERE id = %s", key_id, [("tenant",)]),
            ("DELETE FROM tenant WHERE id = %s", caller.tenant_id, []),
        ):
            assert connection.execute(deletion, (named,)).rowcount == 1
            found = connection.execute("SELECT subject FROM plan_assignment WHERE tenant_id = %s", (caller.tenant_id,))
            assert found.fetchall() == left
        connection.rollback()


class Callers:
    """Credentials of this test, by their names."""

    def __init__(self) -> None:
        self.known: dict[str, Caller] = {}

    async def authenticate(self, credential: str) -> Caller:
        if credential not in self.known:
            raise Unauthenticated("Nobody has this credential.")
        return self.known[credential]

    def header(self, caller: Caller, *scopes: Scope) -> dict[str, str]:
        name = new_id("key")
        self.known[name] = Caller(caller.tenant_id, caller.subject, frozenset(scopes), key_id=caller.key_id)
        return {"authorization": f"Bearer {name}"}


@pytest.fixture
def callers() -> Callers:
    return Callers()


@pytest.fixture
async def client(book: PlanBook, callers: Callers) -> AsyncIterator[httpx.AsyncClient]:
    async def standing(caller: Caller) -> list[BudgetStanding]:
        return [
            BudgetStanding(
                subject="tenant", unit="tokens", limit=1_000, taken=10, spent=4, resets_at=SystemClock().now()
            )
            for _ in range(caller.tenant_id.count("_"))
        ]

    part = Part(name="gateway", routes=[plan_routes(book, standing)])
    app = assemble([part], callers, Readiness([part], {}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


@pytest.mark.anyio
async def test_plans_are_listed_and_assigned(
    client: httpx.AsyncClient, callers: Callers, postgres: EmbeddedAddresses, new_caller
) -> None:
    caller = new_caller()
    key_id = key_of(postgres, caller)
    platform, admin = callers.header(new_caller(), Scope.TENANTS_ADMIN), callers.header(caller, Scope.KEYS_ADMIN)
    reader = callers.header(caller, Scope.USAGE_READ)
    listed = (await client.get("/v1/plans", headers=reader)).json()
    assert [plan["name"] for plan in listed["plans"]] == ["free", "paid"]
    assert (listed["effective"], listed["assignments"], len(listed["standing"])) == (None, [], 1)
    assert (listed["standing"][0]["taken"], listed["standing"][0]["spent"]) == (10, 4)

    answer = await client.put(f"/v1/plans/tenants/{caller.tenant_id}", headers=platform, json={"plan": "free"})
    assert (answer.status_code, answer.json()) == (200, {"subject": "tenant", "plan": "free"})
    answer = await client.put(f"/v1/plans/keys/{key_id}", headers=admin, json={"plan": "paid"})
    assert (answer.status_code, answer.json()) == (200, {"subject": key_id, "plan": "paid"})
    listed = (await client.get("/v1/plans", headers=reader)).json()
    assert listed["effective"] == "free"
    assert listed["assignments"] == [{"subject": "tenant", "plan": "free"}, {"subject": key_id, "plan": "paid"}]


@pytest.mark.anyio
async def test_what_is_wrong_is_refused_and_other_tenants_keys_are_absent(
    client: httpx.AsyncClient, callers: Callers, postgres: EmbeddedAddresses, new_caller
) -> None:
    caller, stranger = new_caller(), new_caller()
    key_id = key_of(postgres, caller)
    everything = callers.header(caller, *Scope)
    unknown = await client.put(f"/v1/plans/keys/{key_id}", headers=everything, json={"plan": "fre"})
    assert unknown.status_code == 400
    assert unknown.json()["detail"] == "There is no plan 'fre': did you mean 'free'?"
    for path, body in (
        (f"/v1/plans/keys/{key_id}", {}),
        (f"/v1/plans/keys/{key_id}", {"plan": 7}),
        (f"/v1/plans/keys/{key_id}", {"plan": "x'; DROP TABLE plan_assignment; --"}),
        (f"/v1/plans/keys/{key_id}", {"plan": "a\0b"}),
    ):
        assert (await client.put(path, headers=everything, json=body)).status_code == 400, body
    theirs = callers.header(stranger, *Scope)
    answers = [
        await client.put(f"/v1/plans/keys/{name}", headers=theirs, json={"plan": "free"})
        for name in (key_id, new_id("key"), "tenant")
    ]
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    absent = await client.put(f"/v1/plans/tenants/{new_id('ten')}", headers=everything, json={"plan": "free"})
    assert absent.status_code == 404
    narrow = callers.header(caller, *(set(Scope) - ADMIN_SCOPES))
    for path in (f"/v1/plans/keys/{key_id}", f"/v1/plans/tenants/{caller.tenant_id}"):
        assert (await client.put(path, headers=narrow, json={"plan": "free"})).status_code == 403
        assert (await client.put(path, json={"plan": "free"})).status_code == 401
